//! Histories as text: a JSON object a line, the header first.
//!
//! ```text
//! {"header":{"seed":7,"commit":"4bab263","configuration":{"masters":"3"},"versions":{}}}
//! {"index":0,"time":1200,"process":3,"type":"invoke","f":"mkdir","value":{"path":"/a"}}
//! {"index":1,"time":5100,"process":3,"type":"ok",…,"value":…,"rev":[1,9],"node":"m2"}
//! {"index":2,"time":6000,"process":3,"type":"fail","f":"mkdir","value":…,"err":"Exists: /a"}
//! {"index":3,"time":7000,"process":"nemesis","type":"ok","f":"heal","value":null}
//! ```
//!
//! The fields are those that tools for histories of Jepsen's kind read. The node is the master that
//! led in the term in `rev`, if it was seen to lead.

use std::collections::BTreeMap;
use std::fmt::Write;

use dfs_core::types::Rev;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Actor, Event, Kind, Op, Output};

/// What a history was made with: all it takes to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// What schedule and workloads were made from.
    pub seed: u64,
    /// The commit of the system.
    pub commit: String,
    /// Settings of cluster, workloads and faults.
    pub configuration: BTreeMap<String, String>,
    /// Versions of programs and systems.
    pub versions: BTreeMap<String, String>,
    /// Which master led in a term, as far as it was seen.
    #[serde(default)]
    pub leaders: BTreeMap<u64, String>,
}

/// A history that was written down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Its first line, if it has one.
    pub header: Option<Header>,
    /// All whole lines after it.
    pub events: Vec<Event>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    index: u64,
    time: u64,
    process: Value,
    r#type: Kind,
    f: String,
    value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rev: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Older histories call it `error`.
    #[serde(
        default,
        rename = "err",
        alias = "error",
        skip_serializing_if = "Option::is_none"
    )]
    error: Option<String>,
}

/// The first line of a history, with its end of line.
pub fn header_line(header: &Header) -> String {
    format!("{}\n", json!({ "header": header }))
}

/// An event as a line, with its end of line.
pub fn line(event: &Event) -> String {
    line_of(event, None)
}

fn line_of(event: &Event, node: Option<&String>) -> String {
    let op = serde_json::to_value(&event.op).unwrap_or_default();
    let input = op.get("value").cloned().unwrap_or_default();
    let value = match &event.output {
        None => input,
        Some(output) => json!({ "in": input, "out": output }),
    };
    let line = Line {
        index: event.index,
        time: event.time,
        process: match event.actor {
            Actor::Process(number) => json!(number),
            Actor::Nemesis => json!("nemesis"),
        },
        r#type: event.kind,
        f: op
            .get("f")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .into(),
        value,
        rev: event.rev.map(|rev| (rev.term, rev.index)),
        node: node.cloned(),
        error: event.error.clone(),
    };
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// A whole history as text.
pub fn write(header: &Header, events: &[Event]) -> String {
    let mut text = header_line(header);
    for event in events {
        let node = event.rev.and_then(|rev| header.leaders.get(&rev.term));
        let _ = text.write_str(&line_of(event, node));
    }
    text
}

/// Reads a history. A last line without an end is left out, whatever it holds.
///
/// # Errors
/// Names the line that is none.
pub fn read(text: &str) -> Result<History, String> {
    let mut history = History::default();
    for (number, whole) in text.split_inclusive('\n').enumerate() {
        let Some(line) = whole.strip_suffix('\n') else {
            break;
        };
        let at = |error: String| format!("line {}: {error}", number + 1);
        let value: Value = serde_json::from_str(line).map_err(|e| at(e.to_string()))?;
        match value.get("header") {
            Some(header) if number == 0 => {
                let header = Header::deserialize(header).map_err(|e| at(e.to_string()))?;
                history.header = Some(header);
            }
            _ => history.events.push(event(value).map_err(at)?),
        }
    }
    Ok(history)
}

fn event(value: Value) -> Result<Event, String> {
    let line = Line::deserialize(value).map_err(|e| e.to_string())?;
    let (input, output) = match line.value {
        Value::Object(mut both) if both.contains_key("in") && both.contains_key("out") => {
            let output = both.remove("out").unwrap_or_default();
            let output = Output::deserialize(output).map_err(|e| e.to_string())?;
            (both.remove("in").unwrap_or_default(), Some(output))
        }
        input => (input, None),
    };
    let op = json!({ "f": line.f, "value": input });
    let actor = match line.process.as_u64() {
        Some(number) => Actor::Process(number),
        None if line.process == "nemesis" => Actor::Nemesis,
        None => return Err(format!("{} is no process", line.process)),
    };
    Ok(Event {
        index: line.index,
        time: line.time,
        actor,
        kind: line.r#type,
        op: Op::deserialize(op).map_err(|e| e.to_string())?,
        output,
        rev: line.rev.map(|(term, index)| Rev { term, index }),
        error: line.error,
    })
}

/// One history of those of several processes of one machine, whose times are of one clock.
///
/// Events of the same nanosecond are taken for concurrent: what begins comes first, so that
/// nothing is called later than something that it may have been earlier than.
pub fn merge(histories: impl IntoIterator<Item = Vec<Event>>) -> Vec<Event> {
    let mut all: Vec<Event> = histories.into_iter().flatten().collect();
    all.sort_by_key(|event| (event.time, event.kind != Kind::Invoke));
    for (index, event) in all.iter_mut().enumerate() {
        event.index = index as u64;
    }
    all
}
