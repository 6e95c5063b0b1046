use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_core::types::Rev;

use super::*;
use crate::faults::{Fault, FaultKind};

fn recorder() -> Recorder {
    let time = AtomicU64::new(0);
    Recorder::new(move || time.fetch_add(100, Ordering::Relaxed))
}

fn mkdir(path: &str) -> Op {
    let path = path.to_owned();
    Op::Mkdir { path }
}

fn every_output() -> Vec<Output> {
    let node = Node {
        inode: 7,
        directory: true,
        size: 0,
        links: 2,
    };
    let data = Block::Data {
        file: 1,
        version: 2,
        place: 3,
    };
    vec![
        Output::Node(node),
        Output::Names(vec![("a".into(), 7), ("b".into(), 8)]),
        Output::Names(Vec::new()),
        Output::Number(Some(3)),
        Output::Number(None),
        Output::Trash(Some(4)),
        Output::Trash(None),
        Output::Blocks(vec![Block::Hole, data, Block::Bad]),
        Output::Blocks(Vec::new()),
        Output::Offset(9),
    ]
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let recorder = recorder();
    for (process, output) in (0..).zip(every_output()) {
        let pending = recorder.invoke(Actor::Process(process), mkdir("/a"));
        pending.ok(Some(output), Some(Rev { term: 2, index: 9 }));
    }
    let fault = Fault {
        id: 1,
        kind: FaultKind::KillLeader,
        at: Duration::from_secs(1),
        lasts: Duration::from_millis(1500),
        pick: u64::MAX,
    };
    recorder.invoke(Actor::Nemesis, Op::Fault(fault)).info("n2");
    recorder.invoke(Actor::Nemesis, Op::Heal).ok(None, None);
    let failed = recorder.invoke(Actor::Process(50), mkdir("/ä\n"));
    failed.fail("NotFound: /ä", Some(Rev { term: 3, index: 12 }));
    let _unfinished = recorder.invoke(Actor::Process(51), mkdir("/b"));

    let header = Header {
        seed: 7,
        commit: "abc".into(),
        ..Header::default()
    };
    let read = read(&write(&header, &recorder.events())).unwrap();
    assert_eq!(read.events, recorder.events());
    assert_eq!(read.header, Some(header));
}

#[test]
fn a_history_whose_last_line_was_cut_off_is_read_without_it() {
    let recorder = recorder();
    let pending = recorder.invoke(Actor::Process(1), mkdir("/a"));
    pending.ok(None, None);
    let text = write(&Header::default(), &recorder.events());
    let first = text.trim_end().rfind('\n').unwrap();
    for cut in first + 2..text.len() {
        let read = read(&text[..cut]).unwrap();
        assert_eq!(read.events, recorder.events()[..1], "cut at {cut}");
    }
    let torn = text.replace("\"index\":0", "\"index\":");
    assert!(super::read(&torn).is_err_and(|error| error.starts_with("line 2")));
}

#[test]
fn a_history_that_was_written_when_errors_were_called_so_is_read() {
    let recorder = recorder();
    let refused = recorder.invoke(Actor::Process(3), mkdir("/a"));
    refused.fail("Exists: /a", None);
    let text = write(&Header::default(), &recorder.events());
    let old = text.replace("\"err\":", "\"error\":");
    assert_ne!(old, text);
    assert_eq!(read(&old).unwrap().events, recorder.events());
}

#[test]
fn a_line_has_the_shape_of_jepsen() {
    let recorder = recorder();
    let pending = recorder.invoke(Actor::Process(3), mkdir("/a"));
    pending.ok(Some(Output::Trash(None)), Some(Rev { term: 1, index: 9 }));
    let refused = recorder.invoke(Actor::Process(3), mkdir("/a"));
    refused.fail("Exists: /a", Some(Rev { term: 1, index: 9 }));
    let events = recorder.events();
    assert_eq!(
        line(&events[3]),
        concat!(
            r#"{"index":3,"time":300,"process":3,"type":"fail","f":"mkdir","#,
            r#""value":{"path":"/a"},"rev":[1,9],"err":"Exists: /a"}"#,
            "\n",
        )
    );
    assert_eq!(
        line(&events[0]) + &line(&events[1]),
        concat!(
            r#"{"index":0,"time":0,"process":3,"type":"invoke","f":"mkdir","#,
            r#""value":{"path":"/a"}}"#,
            "\n",
            r#"{"index":1,"time":100,"process":3,"type":"ok","f":"mkdir","#,
            r#""value":{"in":{"path":"/a"},"out":{"trash":null}},"rev":[1,9]}"#,
            "\n"
        )
    );
    let header = Header {
        leaders: [(1, "m2".to_owned())].into(),
        ..Header::default()
    };
    let of_leaders = write(&header, &events[3..]);
    let last = of_leaders.lines().last().unwrap();
    assert!(last.contains(r#""rev":[1,9],"node":"m2","#), "{last}");
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_event_is_in_the_sink_as_soon_as_it_is_taken_down() {
    let sink = Sink::default();
    let recorder = Recorder::with_sink(|| 5, sink.clone());
    let pending = recorder.invoke(Actor::Process(1), mkdir("/a"));
    let text = || String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert_eq!(read(&text()).unwrap().events, recorder.events());
    pending.info("timeout");
    assert_eq!(read(&text()).unwrap().events, recorder.events());
    assert_eq!(recorder.failure(), None);
}

#[test]
fn histories_of_several_processes_become_one_by_time_and_what_begins_comes_first() {
    let at = |time, process, kind| Event {
        index: 0,
        time,
        actor: Actor::Process(process),
        kind,
        op: mkdir("/a"),
        output: None,
        rev: None,
        error: None,
    };
    let one = vec![at(10, 1, Kind::Invoke), at(20, 1, Kind::Ok)];
    let other = vec![at(20, 2, Kind::Invoke), at(25, 2, Kind::Ok)];
    let merged = merge([one, other]);
    let order: Vec<_> = merged.iter().map(|e| (e.index, e.time, e.kind)).collect();
    let (begin, end) = (Kind::Invoke, Kind::Ok);
    assert_eq!(
        order,
        [(0, 10, begin), (1, 20, begin), (2, 20, end), (3, 25, end)]
    );
    assert_eq!(operations(&merged, |_| true).unwrap().len(), 2);
}

#[test]
fn a_history_that_contradicts_itself_is_refused() {
    let history = |kinds: &[Kind]| {
        let recorder = recorder();
        for kind in kinds {
            let pending = recorder.invoke(Actor::Process(1), mkdir("/a"));
            match kind {
                Kind::Ok => pending.ok(None, None),
                Kind::Info => pending.info("timeout"),
                _ => {}
            }
        }
        recorder.events()
    };
    assert!(operations(&history(&[Kind::Ok, Kind::Ok]), |_| true).is_ok());
    assert!(operations(&history(&[Kind::Ok, Kind::Info]), |_| true).is_ok());
    assert!(operations(&history(&[Kind::Info, Kind::Ok]), |_| true).is_err());
    assert!(operations(&history(&[Kind::Invoke, Kind::Ok]), |_| true).is_err());
    let mut no_begin = history(&[Kind::Ok]);
    no_begin.remove(0);
    assert!(operations(&no_begin, |_| true).is_err());
    let mut turned = history(&[Kind::Ok]);
    turned.reverse();
    assert!(operations(&turned, |_| true).is_err());
}
