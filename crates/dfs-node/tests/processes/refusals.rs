//! What the daemon refuses, and what it says.

use std::path::Path;
use std::time::Duration;

use dfs_core::error::ErrorKind;
use tempfile::tempdir;
use tokio::time::timeout;

use crate::TestResult;
use crate::cluster::{Founded, Process, command};

/// Runs a daemon that must refuse to start; gives its exit code and last words.
pub(crate) async fn refused(
    arguments: &[&str],
) -> Result<(Option<i32>, String), Box<dyn std::error::Error>> {
    let run = command(arguments).env("DFS_LOG", "off").output();
    let output = timeout(Duration::from_secs(60), run).await??;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_master_without_a_cluster_says_how_to_get_one() -> TestResult {
    let directory = tempdir()?;
    let arguments = [
        "master",
        "--directory",
        &text(directory.path()),
        "--listen",
        "127.0.0.1:0",
    ];
    let (code, said) = refused(&arguments).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is of no cluster yet"), "{said}");
    assert!(
        said.contains("hint: found a cluster with `dfs-node init`"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_cluster_is_founded_once_in_a_directory() -> TestResult {
    let directory = tempdir()?;
    let directory = text(&directory.path().join("m1"));
    let init = ["init", "--directory", &directory, "--listen", "127.0.0.1:0"];
    assert!(command(&init).output().await?.status.success());
    let (code, said) = refused(&init).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&directory), "it names the directory: {said}");
    Ok(())
}

#[tokio::test]
async fn a_directory_and_a_port_are_one_process_s() -> TestResult {
    let directory = tempdir()?;
    let first = text(&directory.path().join("m1"));
    let init = ["init", "--directory", &first, "--listen", "127.0.0.1:0"];
    assert!(command(&init).output().await?.status.success());
    let run = ["master", "--directory", &first, "--listen", "127.0.0.1:0"];
    let running = Process::start(&run, &directory.path().join("log")).await?;

    let (code, said) = refused(&run).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process"), "{said}");

    let second = text(&directory.path().join("m2"));
    let taken = [
        "init",
        "--directory",
        &second,
        "--listen",
        running.address(),
    ];
    let (code, said) = refused(&taken).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(running.address()),
        "it names the address: {said}"
    );
    assert_eq!(running.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_data_node_does_not_take_an_empty_directory_for_its_own_unless_told() -> TestResult {
    let directory = tempdir()?;
    let directory = text(directory.path());
    let arguments = [
        "data",
        "--directory",
        &directory,
        "--listen",
        "127.0.0.1:0",
        "--masters",
        "127.0.0.1:1",
    ];
    let (code, said) = refused(&arguments).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--new"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_master_whose_reserve_is_touched_makes_nothing_new_and_says_where_to_make_room()
-> TestResult {
    let directory = tempdir()?;
    let master = text(&directory.path().join("m1"));
    let log = directory.path().join("log");
    let listen = ["--directory", &master, "--listen", "127.0.0.1:0"];
    let founded = Founded::init(&directory.path().join("m1"), &[]).await?;

    // No disk has so much.
    let short = [&["master"], &listen[..], &["--reserve-mib", "4000000000"]].concat();
    let running = Process::start(&short, &log).await?;
    let client = founded.client(running.address()).await?;
    let refusal = async {
        let mut paths = (0..).map(|n| format!("/{n}"));
        loop {
            let path = paths.next().unwrap_or_default();
            // It may be asked before it has asked its disk.
            if let Err(error) = client.create_file(&path, true).await {
                return error;
            }
        }
    };
    let refusal = timeout(Duration::from_secs(30), refusal).await?;
    assert_eq!(refusal.kind(), ErrorKind::OutOfSpace, "{refusal}");
    assert!(refusal.to_string().contains(&master), "{refusal}");
    client.close().await;
    assert_eq!(running.stop().await?, Some(0));

    let none = [&["master"], &listen[..], &["--reserve-mib", "0"]].concat();
    let running = Process::start(&none, &log).await?;
    let client = founded.client(running.address()).await?;
    client.create_file("/made", true).await?;
    client.close().await;
    assert_eq!(running.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn settings_that_are_wrong_are_named() -> TestResult {
    let directory = tempdir()?;
    let file = directory.path().join("dfs.toml");
    std::fs::write(&file, "[master]\nlissten = \"127.0.0.1:0\"\n")?;
    let (code, said) = refused(&["master", "--config", &text(&file)]).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("lissten"), "{said}");
    let (code, said) = refused(&["master", "--listen", "127.0.0.1:0"]).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no directory is set"), "{said}");
    let (code, said) = refused(&["data", "--directory", "/nowhere"]).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no master is set"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_printed_settings_show_flag_before_environment_before_file() -> TestResult {
    let directory = tempdir()?;
    let file = directory.path().join("dfs.toml");
    std::fs::write(
        &file,
        "[master]\ndirectory = \"/a\"\ncache_mib = 7\nlisten = \"127.0.0.1:1\"",
    )?;
    let file = text(&file);
    let output = command(&[
        "master",
        "--config",
        &file,
        "--cache-mib",
        "9",
        "--print-config",
    ])
    .env("DFS_LISTEN", "127.0.0.1:2")
    .output()
    .await?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "directory = \"/a\"",
        "cache_mib = 9",
        "listen = \"127.0.0.1:2\"",
    ] {
        assert!(printed.contains(line), "no {line} in {printed}");
    }
    let output = command(&["data", "--masters", "a:1,b:2", "--rack", "r7"])
        .arg("--print-config")
        .output()
        .await?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["[data]", "masters = [\"a:1\", \"b:2\"]", "rack = \"r7\""] {
        assert!(printed.contains(line), "no {line} in {printed}");
    }
    Ok(())
}

#[tokio::test]
async fn without_security_only_this_machine_is_listened_to_and_a_person_is_warned() -> TestResult {
    let directory = tempdir()?;
    let home = text(&directory.path().join("m1"));
    let at = |verb, host| [verb, "--directory", &home, "--listen", host, "--insecure"];
    for verb in ["init", "master", "data"] {
        let (code, said) = refused(&at(verb, "0.0.0.0:0")).await?;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("only loopback"), "{said}");
    }
    // None of these gets further than its first steps.
    for verb in ["master", "data"] {
        let (_, said) = refused(&at(verb, "127.0.0.1:0")).await?;
        assert!(said.contains("warning: INSECURE"), "{said}");
    }
    let founded = Founded::init(&directory.path().join("m1"), &["--insecure"]).await?;
    assert!(founded.is_insecure());
    Ok(())
}

#[tokio::test]
async fn a_join_token_that_is_none_is_refused_and_not_repeated() -> TestResult {
    let directory = tempdir()?;
    let home = text(&directory.path().join("n1"));
    let token = "dfsjoin1-0badc0ffee";
    let place = ["--directory", &home, "--join", token];
    for verb in [&["master"][..], &["data", "--new"]] {
        let (code, said) = refused(&[verb, &place].concat()).await?;
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains("dfs token create") && !said.contains("c0ffee"),
            "{said}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_has_no_join_token_is_named() -> TestResult {
    let directory = tempdir()?;
    let at = |name: &str| text(&directory.path().join(name));
    let home = at("n1");
    std::fs::write(at("empty"), "\n")?;
    std::fs::write(at("long"), "x".repeat(100_000))?;
    for name in ["missing", "empty", "long"] {
        let file = at(name);
        let place = ["--directory", &home, "--join-file", &file];
        for verb in [&["master"][..], &["data", "--new"]] {
            let (code, said) = refused(&[verb, &place].concat()).await?;
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains(&file), "{said}");
        }
    }
    let token = "dfsjoin1-0badc0ffee";
    let both = ["--directory", &home, "--join", token, "--join-file", "-"];
    let (code, said) = refused(&[&["master"][..], &both].concat()).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("both") && !said.contains("c0ffee"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_log_in_json_is_one_object_a_line() -> TestResult {
    let directory = tempdir()?;
    let home = text(&directory.path().join("m1"));
    let init = ["init", "--directory", &home, "--listen", "127.0.0.1:0"];
    let output = command(&[&init[..], &["--log-format", "json"]].concat())
        .env("DFS_LOG", "info")
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = said.lines().next().unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(first)?;
    assert_eq!(line["level"], "INFO");
    for line in said.lines() {
        serde_json::from_str::<serde_json::Value>(line)?;
    }
    Ok(())
}
