//! An administrator that lost every key gets back in, by the disk of a master.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_core::client::{Access, Client, ClientConfig, NewUser, Profile};
use dfs_core::env::Env;
use dfs_core::security::Password;
use dfs_core::types::account::UserChange;
use dfs_core::types::{Role, UserId};
use tempfile::{TempDir, tempdir};
use tokio::time::{sleep, timeout};

use crate::TestResult;
use crate::cluster::{Cluster, Founded, MASTERS, Process, command};
use crate::refusals::refused;

type Tried<T> = Result<T, Box<dyn std::error::Error>>;

/// A cluster of one master.
struct Alone {
    directory: TempDir,
    founded: Founded,
}

impl Alone {
    async fn found() -> Tried<Alone> {
        let directory = tempdir()?;
        let founded = Founded::init(&directory.path().join("m1"), &[]).await?;
        Ok(Alone { directory, founded })
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("m1")
    }

    async fn start(&self) -> std::io::Result<Process> {
        let home = self.home().display().to_string();
        let address = &self.founded.address;
        let run = ["master", "--directory", &home, "--listen", address];
        Process::start(&run, &self.directory.path().join("m1.log")).await
    }

    async fn client(&self) -> dfs_core::error::Result<Client> {
        self.founded.client(&self.founded.address).await
    }
}

fn recover<'a>(home: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    [&["recover", "--directory", home][..], extra].concat()
}

/// Runs `dfs-node recover`, which must succeed, and opens the profile that it wrote.
async fn recovered(home: &Path) -> Tried<Profile> {
    let output = command(&recover(&home.display().to_string(), &[]))
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let path = home.join("recovered.toml");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    let profile = toml::from_str(&fs::read_to_string(&path)?)?;
    fs::remove_file(path)?;
    Ok(profile)
}

fn files(home: &Path) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => drop(found.insert(path.clone(), fs::read(path)?)),
        }
    }
    Ok(found)
}

#[tokio::test]
async fn an_administrator_whose_every_key_is_lost_gets_back_in_by_the_disk_of_a_killed_master()
-> TestResult {
    let alone = Alone::found().await?;
    let master = alone.start().await?;
    // The last that the masters did, and hardly on the disk: it voids all tickets made before.
    let client = alone.client().await?;
    let password = Password::new("a password that is lost".to_owned());
    client.set_password(UserId::ROOT, Some(password)).await?;
    master.kill().await?;
    fs::remove_file(alone.home().join("admin.toml"))?;
    let before = files(&alone.home())?;

    let profile = recovered(&alone.home()).await?;
    assert!(files(&alone.home())? == before, "the disk has changed");

    let master = alone.start().await?;
    let client = Client::connect(profile.config()?, Env::real()).await?;
    assert_eq!(client.whoami().await?.name.as_str(), "admin");
    let (_, key) = client.add_key(UserId::ROOT, "after the loss").await?;
    let authority = profile.access()?.ok_or("no access")?.authority();
    let access = Access::with_key(authority, "admin".parse()?, key);
    let config = ClientConfig {
        access: Some(access),
        ..ClientConfig::new(profile.masters.clone())
    };
    let client = Client::connect(config, Env::real()).await?;
    client.write("/f", "in again").await?;
    assert_eq!(master.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn the_disk_of_the_only_master_with_a_vote_is_enough_though_another_has_joined() -> TestResult
{
    let alone = Alone::found().await?;
    let master = alone.start().await?;
    let client = alone.client().await?;
    // Nobody reaches it where it says it is, so it gets no vote.
    let token = alone.founded.master_token.as_deref().ok_or("no token")?;
    let home = alone.directory.path().join("m2").display().to_string();
    let second = ["master", "--directory", &home, "--listen", "127.0.0.1:0"];
    let second = [
        &second[..],
        &["--advertise", "127.0.0.1:1", "--join", token],
    ]
    .concat();
    let second = Process::launch(&second, &alone.directory.path().join("m2.log"))?;
    let joined = async {
        while client.status().await?.masters.len() < 2 {
            sleep(Duration::from_millis(20)).await;
        }
        dfs_core::error::Result::Ok(())
    };
    timeout(Duration::from_secs(30), joined).await??;
    let password = Password::new("a password that is lost".to_owned());
    client.set_password(UserId::ROOT, Some(password)).await?;
    let group = client.status().await?.masters;
    assert_eq!(group.iter().filter(|master| master.voter).count(), 1);
    master.kill().await?;
    second.kill().await?;

    let profile = recovered(&alone.home()).await?;

    let master = alone.start().await?;
    let client = Client::connect(profile.config()?, Env::real()).await?;
    assert_eq!(client.whoami().await?.name.as_str(), "admin");
    assert_eq!(master.stop().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn the_disk_of_one_of_several_masters_is_enough() -> TestResult {
    let directory = tempdir()?;
    let mut cluster = Cluster::found(directory.path(), 0).await?;
    for place in 0..MASTERS {
        cluster.kill(place).await?;
    }
    let home = cluster.directory(1);
    let before = files(&home)?;
    let profile = recovered(&home).await?;
    assert!(files(&home)? == before, "the disk has changed");
    assert_eq!(profile.masters.len(), MASTERS);

    for place in 0..MASTERS {
        cluster.start(place, false).await?;
    }
    let client = Client::connect(profile.config()?, Env::real()).await?;
    assert_eq!(client.users().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn it_is_refused_to_others_than_administrators_and_beside_a_running_master() -> TestResult {
    let alone = Alone::found().await?;
    let home = alone.home().display().to_string();
    let master = alone.start().await?;
    let client = alone.client().await?;
    for (name, role) in [("alice", Role::User), ("former", Role::Administrator)] {
        let new = NewUser {
            role,
            ..NewUser::named(name.parse()?)
        };
        client.add_user(new).await?;
    }
    let former = client.user(&"former".parse()?).await?.id;
    let disabled = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    client.set_user(former, disabled).await?;

    let (code, said) = refused(&recover(&home, &[])).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a master runs in"), "{said}");
    assert_eq!(master.stop().await?, Some(0));

    for (user, why) in [
        ("alice", "no administrator"),
        ("former", "disabled"),
        ("bob", "there is no user bob"),
    ] {
        let (code, said) = refused(&recover(&home, &["--user", user])).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let out = alone.home().join("admin.toml").display().to_string();
    let kept = fs::read(&out)?;
    let (code, said) = refused(&recover(&home, &["--out", &out])).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(fs::read(&out)?, kept);
    Ok(())
}

#[tokio::test]
async fn what_is_no_directory_of_a_secured_master_is_refused_and_left_alone() -> TestResult {
    let directory = tempdir()?;
    let [empty, missing, open] = ["empty", "missing", "open"].map(|n| directory.path().join(n));
    fs::create_dir(&empty)?;
    Founded::init(&open, &["--insecure"]).await?;
    for path in [&empty, &missing, &open] {
        let home = path.display().to_string();
        let (code, said) = refused(&recover(&home, &[])).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&home) && said.contains("no papers"), "{said}");
    }
    assert_eq!(fs::read_dir(&empty)?.count(), 0);
    assert!(!missing.exists());
    Ok(())
}
