//! A data directory is one node's, of one cluster, and never taken for lost or for new.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_core::client::{Client, TokenRequest};
use dfs_core::proto::metadata::Liveness;
use dfs_core::types::checksum::crc32c;
use dfs_core::types::{NodeId, NodeRole, Volume};
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep, timeout};

use crate::TestResult;
use crate::cluster::{Founded, Process, command};
use crate::refusals::refused;

const WITHIN: Duration = Duration::from_secs(30);

/// A cluster of one master; data nodes are added as a test needs them.
struct Small {
    directory: TempDir,
    founded: Founded,
    master: Process,
}

impl Small {
    async fn found() -> Result<Small, Box<dyn std::error::Error>> {
        let directory = tempdir()?;
        let home = directory.path().join("m1").display().to_string();
        let founded = Founded::init(&directory.path().join("m1"), &[]).await?;
        let run = ["master", "--directory", &home, "--listen", "127.0.0.1:0"];
        let master = Process::start(&run, &directory.path().join("m1.log")).await?;
        Ok(Small {
            directory,
            founded,
            master,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The arguments of a data node in the directory `name`.
    fn node(&self, name: &str, listen: &str) -> Vec<String> {
        let mut node = node(&self.path(name), listen, self.master.address());
        let token = self.founded.data_token.clone();
        node.extend(["--join".to_owned(), token.unwrap_or_default()]);
        node
    }

    async fn start(&self, name: &str, extra: &[&str]) -> std::io::Result<Process> {
        let arguments = self.node(name, "127.0.0.1:0");
        let arguments = strings(&arguments, extra);
        Process::start(&arguments, &self.path(&format!("{name}.log"))).await
    }

    /// Starts a node that has its papers.
    async fn start_again(&self, name: &str, extra: &[&str]) -> std::io::Result<Process> {
        let arguments = node(&self.path(name), "127.0.0.1:0", self.master.address());
        let arguments = strings(&arguments, extra);
        Process::start(&arguments, &self.path(&format!("{name}.log"))).await
    }

    async fn client(&self) -> dfs_core::error::Result<Client> {
        self.founded.client(self.master.address()).await
    }
}

fn node(directory: &Path, listen: &str, master: &str) -> Vec<String> {
    let directory = directory.display().to_string();
    [
        "data",
        "--directory",
        &directory,
        "--listen",
        listen,
        "--masters",
        master,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn strings<'a>(arguments: &'a [String], extra: &[&'a str]) -> Vec<&'a str> {
    let arguments = arguments.iter().map(String::as_str);
    arguments.chain(extra.iter().copied()).collect()
}

#[tokio::test]
async fn a_data_directory_and_its_port_are_one_process_s() -> TestResult {
    let small = Small::found().await?;
    let running = small.start("n1", &["--new"]).await?;

    for extra in [&[][..], &["--new"]] {
        let again = small.node("n1", "127.0.0.1:0");
        let (code, said) = refused(&strings(&again, extra)).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("locked by another process"), "{said}");
        assert!(
            said.contains(&*small.path("n1").to_string_lossy()),
            "{said}"
        );
    }
    let taken = small.node("n2", running.address());
    let (code, said) = refused(&strings(&taken, &["--new"])).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(running.address()),
        "it names the address: {said}"
    );

    assert_eq!(running.stop().await?, Some(0));
    assert_eq!(small.start("n1", &[]).await?.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_data_node_whose_disk_is_not_mounted_refuses_to_start_and_loses_nothing() -> TestResult {
    let small = Small::found().await?;
    let first = small.start("n1", &["--new"]).await?;
    let second = small.start("n2", &["--new"]).await?;
    let client = small.client().await?;
    client.write("/f", vec![5; 3 << 20]).await?;
    assert_eq!(first.stop().await?, Some(0));
    fs::rename(small.path("n1"), small.path("unmounted"))?;

    for mounted in [false, true] {
        if mounted {
            fs::create_dir(small.path("n1"))?;
        }
        let (code, said) = refused(&strings(&small.node("n1", "127.0.0.1:0"), &[])).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(&*small.path("n1").to_string_lossy()),
            "{said}"
        );
        assert!(
            said.contains("hint: ") && said.contains("`--new`"),
            "{said}"
        );
    }
    assert_eq!(fs::read_dir(small.path("n1"))?.count(), 0, "it was touched");

    fs::remove_dir(small.path("n1"))?;
    fs::rename(small.path("unmounted"), small.path("n1"))?;
    let first = small.start("n1", &[]).await?;
    second.kill().await?;
    assert_eq!(client.read("/f").await?, vec![5; 3 << 20]);
    assert_eq!(first.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_disk_that_goes_away_under_a_running_data_node_is_offline_and_not_empty() -> TestResult {
    let small = Small::found().await?;
    let first = small.start("n1", &["--new"]).await?;
    let _second = small.start("n2", &["--new"]).await?;
    let _third = small.start("n3", &["--new"]).await?;
    let client = small.client().await?;
    client.write("/f", vec![5; 3 << 20]).await?;
    fs::rename(small.path("n1"), small.path("unmounted"))?;
    fs::create_dir(small.path("n1"))?;

    // Reads and writes go on with the other two, and the masters give the node up.
    let end = Instant::now() + WITHIN;
    let mut number = 0;
    while client
        .nodes()
        .await?
        .iter()
        .filter(|node| node.liveness == Liveness::Dead)
        .count()
        != 1
    {
        assert!(Instant::now() < end, "it is not given up");
        number += 1;
        client
            .write(format!("/{number}").as_str(), vec![6; 3 << 20])
            .await?;
        assert_eq!(client.read("/f").await?, vec![5; 3 << 20]);
        sleep(Duration::from_millis(20)).await;
    }
    let touched = fs::read_dir(small.path("n1"))?.map(|entry| entry.map(|entry| entry.file_name()));
    assert_eq!(touched.collect::<Result<Vec<_>, _>>()?, [""; 0]);

    assert_eq!(first.stop().await?, Some(1), "its store has failed");
    fs::remove_dir(small.path("n1"))?;
    fs::rename(small.path("unmounted"), small.path("n1"))?;
    let quarantine = small.path("n1").join("quarantine");
    assert_eq!(
        fs::read_dir(quarantine)?.count(),
        0,
        "a good replica was taken for corrupt"
    );
    let first = small.start("n1", &[]).await?;
    assert_eq!(client.read("/f").await?, vec![5; 3 << 20]);
    assert_eq!(first.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_data_directory_of_another_cluster_is_refused_and_left_as_it_is() -> TestResult {
    let (ours, theirs) = (Small::found().await?, Small::found().await?);
    let running = theirs.start("n1", &["--new"]).await?;
    assert_eq!(running.stop().await?, Some(0));

    let mut arguments = node(&theirs.path("n1"), "127.0.0.1:0", ours.master.address());
    let token = ours.founded.data_token.clone().unwrap_or_default();
    arguments.extend(["--join".to_owned(), token]);
    for extra in [&[][..], &["--new"]] {
        let (code, said) = refused(&strings(&arguments, extra)).await?;
        assert_eq!(code, Some(1), "{said}");
        let cluster = theirs.client().await?.cluster();
        let names_it = said.contains(&format!("belongs to cluster {cluster}"));
        assert!(names_it, "{cluster} is not named: {said}");
    }

    assert_eq!(theirs.start("n1", &[]).await?.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_data_directory_of_a_newer_format_is_refused_and_left_as_it_is() -> TestResult {
    let small = Small::found().await?;
    let running = small.start("n1", &["--new"]).await?;
    assert_eq!(running.stop().await?, Some(0));
    let stamp = small.path("n1").join("stamp");
    let (bytes, mut newer) = (fs::read(&stamp)?, fs::read(&stamp)?);
    newer[8] = 99;
    fs::write(&stamp, &newer)?;

    for extra in [&[][..], &["--new"]] {
        let arguments = small.node("n1", "127.0.0.1:0");
        let (code, said) = refused(&strings(&arguments, extra)).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&*stamp.to_string_lossy()), "{said}");
        assert!(
            said.contains("format 99") && said.contains("use the newer program"),
            "{said}"
        );
    }
    assert_eq!(fs::read(&stamp)?, newer);

    fs::write(&stamp, bytes)?;
    assert_eq!(small.start("n1", &[]).await?.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_node_joins_with_a_token_in_a_file_or_on_standard_input() -> TestResult {
    let small = Small::found().await?;
    let file = small.path("data.token");
    let token = small.founded.data_token.clone().unwrap_or_default();
    fs::write(&file, format!("{token}\n"))?;
    let file = file.display().to_string();
    let start = async |name: &str, from: &str, new: &[&str]| -> TestResult {
        let node = node(&small.path(name), "127.0.0.1:0", small.master.address());
        let extra = [new, &["--join-file", from]].concat();
        let arguments = strings(&node, &extra);
        let input = fs::File::open(&file).or_else(|_| fs::File::open("/dev/null"))?;
        let mut child = command(&arguments)
            .stdin(input)
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(WITHIN, lines.next_line()).await??;
        assert!(
            ready.is_some_and(|line| line.starts_with("ready:")),
            "{name}"
        );
        child.kill().await?;
        Ok(())
    };
    let all = [("n1", file.as_str()), ("n2", "-")];
    for (name, from) in all {
        start(name, from, &["--new"]).await?;
    }
    // It was a secret, and is needed no more.
    fs::remove_file(&file)?;
    for (name, from) in all {
        start(name, from, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_master_told_to_join_another_cluster_than_its_own_refuses_and_names_it() -> TestResult {
    let (ours, theirs) = (Small::found().await?, Small::found().await?);
    let cluster = ours.client().await?.cluster().to_string();
    let home = ours.path("m1").display().to_string();
    let run = ["master", "--directory", &home, "--listen", "127.0.0.1:0"];
    assert_eq!(ours.master.stop().await?, Some(0));

    let token = theirs.founded.master_token.clone().unwrap_or_default();
    let join = [&run[..], &["--join", &token]].concat();
    let (code, said) = refused(&join).await?;
    assert_eq!(code, Some(1), "{said}");
    for name in [&cluster, &home] {
        assert!(said.contains(name), "{name} is not named: {said}");
    }

    // One that is told to join its own again is where it should be.
    let log = theirs.path("m1.log");
    let token = ours.founded.master_token.clone().unwrap_or_default();
    let again = [&run[..], &["--join", &token]].concat();
    assert_eq!(Process::start(&again, &log).await?.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_master_s_directory_of_a_newer_format_is_refused_and_named() -> TestResult {
    let small = Small::found().await?;
    let home = small.path("m1");
    assert_eq!(small.master.stop().await?, Some(0));
    let identity = home.join("identity");
    let bytes = fs::read(&identity)?;
    // The checksum is over the name as well, and stands at the end.
    let newer = [b"identity\x63", &bytes[1..bytes.len() - 4]].concat();
    let crc = crc32c(&newer).to_le_bytes();
    let newer = [&newer[8..], &crc].concat();
    fs::write(&identity, &newer)?;

    let home = home.display().to_string();
    let run = ["master", "--directory", &home, "--listen", "127.0.0.1:0"];
    let (code, said) = refused(&run).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&home), "{home} is not named: {said}");
    assert!(
        said.contains("version 99") && said.contains("use the newer program"),
        "{said}"
    );
    assert_eq!(fs::read(&identity)?, newer);

    fs::write(&identity, bytes)?;
    let log = small.directory.path().join("m1.log");
    assert_eq!(Process::start(&run, &log).await?.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_node_with_two_disks_serves_from_one_while_the_other_is_not_mounted() -> TestResult {
    let small = Small::found().await?;
    let second = small.path("n1-b").display().to_string();
    let both = ["--dir", second.as_str()];
    let node = small.start("n1", &["--new", both[0], both[1]]).await?;
    let other = small.start("n2", &["--new"]).await?;
    let client = small.client().await?;
    for file in 0..20 {
        client
            .write(&*format!("/{file}"), vec![file; 100_000])
            .await?;
    }
    assert_eq!(node.stop().await?, Some(0));

    // Left out by mistake: it is asked for.
    let (code, said) = refused(&strings(&small.node("n1", "127.0.0.1:0"), &[])).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("volume v1") && said.contains(&second),
        "{said}"
    );
    assert!(said.contains("`--forget v1`"), "{said}");

    fs::rename(&second, small.path("unmounted"))?;
    fs::create_dir(&second)?;
    let node = small.start("n1", &both).await?;
    let reason = volume(&client, 1, |volume| volume.failed.is_some()).await?;
    assert!(reason.is_some_and(|why| why.contains("is the disk mounted")));
    assert_eq!(
        fs::read_dir(&second)?.count(),
        0,
        "nothing is made below a mount"
    );
    for file in 0..20 {
        assert_eq!(
            client.read(&*format!("/{file}")).await?,
            vec![file; 100_000]
        );
    }
    client.write("/more", vec![7; 100_000]).await?;
    assert_eq!(node.stop().await?, Some(0));

    fs::remove_dir(&second)?;
    fs::rename(small.path("unmounted"), &second)?;
    let node = small.start("n1", &both).await?;
    volume(&client, 1, |volume| volume.failed.is_none()).await?;
    assert_eq!(other.stop().await?, Some(0));
    for file in 0..20 {
        assert_eq!(
            client.read(&*format!("/{file}")).await?,
            vec![file; 100_000]
        );
    }
    assert_eq!(node.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_disk_is_emptied_into_the_other_and_taken_out_and_no_file_lacks_a_copy() -> TestResult {
    let small = Small::found().await?;
    let second = small.path("n1-b").display().to_string();
    let both = ["--dir", second.as_str()];
    let node = small.start("n1", &["--new", both[0], both[1]]).await?;
    let other = small.start("n2", &["--new"]).await?;
    let client = small.client().await?;
    for file in 0..20 {
        client
            .write(&*format!("/{file}"), vec![file; 100_000])
            .await?;
    }
    volume(&client, 1, |volume| volume.replicas > 0).await?;
    assert_eq!(node.stop().await?, Some(0));

    let mistyped = ["--leave", "/nothing"];
    let (code, said) = refused(&strings(&small.node("n1", "127.0.0.1:0"), &mistyped)).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/nothing is to be emptied"), "{said}");
    // The one with the papers.
    let first = small.path("n1").display().to_string();
    let leaving = [both[0], both[1], "--leave", &first];
    let node = small.start("n1", &leaving).await?;
    volume(&client, 0, |volume| volume.leaving && volume.replicas == 0).await?;
    assert_eq!(node.stop().await?, Some(0));

    fs::remove_dir_all(&first)?;
    let node = small.start_again("n1-b", &["--forget", "v0"]).await?;
    assert_eq!(other.stop().await?, Some(0));
    for file in 0..20 {
        assert_eq!(
            client.read(&*format!("/{file}")).await?,
            vec![file; 100_000]
        );
    }
    assert_eq!(node.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_node_that_lost_the_disk_with_its_papers_is_the_same_with_a_join_token() -> TestResult {
    let small = Small::found().await?;
    let second = small.path("n1-b").display().to_string();
    let node = small.start("n1", &["--new", "--dir", &second]).await?;
    let other = small.start("n2", &["--new"]).await?;
    let client = small.client().await?;
    client.write("/file", vec![7; 100_000]).await?;
    assert_eq!(node.stop().await?, Some(0));
    fs::remove_dir_all(small.path("n1"))?;

    let arguments = self::node(Path::new(&second), "127.0.0.1:0", small.master.address());
    let (code, said) = refused(&strings(&arguments, &["--forget", "v0"])).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has no papers"), "{said}");
    assert!(said.contains("--role data --node"), "{said}");
    let for_new_nodes = small.node("n1-b", "127.0.0.1:0");
    let (code, said) = refused(&strings(&for_new_nodes, &["--forget", "v0"])).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a token that names it"), "{said}");

    let nodes = client.enrolled_nodes().await?;
    let n1 = nodes.iter().find(|node| node.registered == Some(NodeId(1)));
    let request = TokenRequest {
        role: NodeRole::DataNode,
        node: Some(n1.ok_or("n1 has no papers")?.key),
        uses: 1,
        ttl: Duration::from_secs(60),
        label: String::new(),
    };
    let (_, token) = client.create_token(request).await?;
    let shown = ["--forget", "v0", "--join", &token.reveal()?];
    let node = small.start_again("n1-b", &shown).await?;
    let reason = volume(&client, 1, |volume| volume.failed.is_none()).await?;
    assert_eq!(reason, None);
    assert_eq!(client.nodes().await?.len(), 2);
    assert_eq!(client.read("/file").await?, vec![7; 100_000]);
    assert_eq!(node.stop().await?, Some(0));
    assert_eq!(other.stop().await?, Some(0));
    Ok(())
}

/// Waits until the first data node says of a volume what is so; why it is out of use, if it is.
async fn volume(
    client: &Client,
    id: u32,
    is_so: impl Fn(&Volume) -> bool,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let deadline = Instant::now() + WITHIN;
    while Instant::now() < deadline {
        let nodes = client.nodes().await?;
        let volumes = nodes.iter().flat_map(|node| &node.volumes);
        let mut found = volumes.filter(|volume| volume.id.0 == id);
        if let Some(volume) = found.next()
            && is_so(volume)
        {
            return Ok(volume.failed.clone());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(format!("v{id} is not as it should be").into())
}

#[tokio::test]
async fn disks_that_were_swapped_between_two_nodes_are_refused_by_both() -> TestResult {
    let small = Small::found().await?;
    let paths = ["n1-b", "n2-b"].map(|name| small.path(name).display().to_string());
    for (name, second) in ["n1", "n2"].iter().zip(&paths) {
        let node = small.start(name, &["--new", "--dir", second]).await?;
        assert_eq!(node.stop().await?, Some(0));
    }
    fs::rename(&paths[0], small.path("aside"))?;
    fs::rename(&paths[1], &paths[0])?;
    fs::rename(small.path("aside"), &paths[1])?;
    for (name, second) in ["n1", "n2"].iter().zip(&paths) {
        let node = small.node(name, "127.0.0.1:0");
        let (code, said) = refused(&strings(&node, &["--dir", second])).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("were disks swapped") && said.contains(second),
            "{said}"
        );
    }
    Ok(())
}
