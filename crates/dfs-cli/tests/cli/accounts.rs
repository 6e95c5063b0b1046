//! Users of their own, who log in from elsewhere.

use std::os::unix::fs::PermissionsExt;

use crate::machine::{Machine, Up};

/// A cluster of one machine, and another machine with its authority at hand.
struct World {
    admin: Machine,
    elsewhere: Machine,
    up: Up,
    authority: String,
}

impl World {
    fn new() -> World {
        let admin = Machine::new();
        let up = admin.up(&["--masters", "1", "--data-nodes", "3"]);
        let who = admin.ok(&["whoami", "--json"]);
        let who: serde_json::Value = serde_json::from_str(&who).unwrap();
        let authority = who["authority"].as_str().unwrap().to_owned();
        World {
            admin,
            elsewhere: Machine::new(),
            up,
            authority,
        }
    }

    /// Adds a user and logs in as that from elsewhere, with a key.
    fn log_in(&self, user: &str) {
        let key = self.admin.ok(&["user", "add", user, "--with-key"]);
        let run = self.log_in_with(user, &key, "--key-stdin");
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }

    fn log_in_with(&self, user: &str, input: &str, how: &str) -> crate::machine::Run {
        let login = ["login", user, "--masters", &self.up.masters];
        let args = [&login[..], &["--authority", &self.authority, how]].concat();
        self.elsewhere.dfs_with_input(&args, input.as_bytes())
    }
}

#[test]
fn a_user_logs_in_from_elsewhere_and_has_its_own_files_and_no_others() {
    let world = World::new();
    let (admin, user) = (&world.admin, &world.elsewhere);
    admin.ok(&["mkdir", "/home"]);
    admin.ok(&["chmod", "1777", "/home"]);
    admin.write("secret", "of the administrator\n");
    admin.ok(&["put", "secret", "/home/secret"]);
    admin.ok(&["chmod", "600", "/home/secret"]);

    world.log_in("alice");
    assert!(user.ok(&["whoami"]).contains("alice"));
    user.write("a", vec![7; 300_000]);
    user.ok(&["put", "a", "/home/a"]);
    assert_eq!(user.ok(&["cat", "/home/a"]).len(), 300_000);
    for denied in [
        &["cat", "/home/secret"][..],
        &["rm", "/home/secret"],
        &["mkdir", "/mine"],
        &["chown", "1", "/home/a"],
        &["chgrp", "1", "/home/a"],
        &["user", "add", "mallory"],
        &["token", "create", "--role", "data"],
        &["master", "rm", "m1"],
        &["node", "ls", "--all"],
    ] {
        let run = user.dfs(denied);
        assert_eq!(run.code, Some(1), "{denied:?}: {}", run.stderr);
    }

    admin.ok(&["setfacl", "-m", "u:alice:r", "/home/secret"]);
    assert_eq!(user.ok(&["cat", "/home/secret"]), "of the administrator\n");
    // What is taken away is gone at once, and so is who is shut out.
    admin.ok(&["setfacl", "-b", "/home/secret"]);
    assert_eq!(user.dfs(&["cat", "/home/secret"]).code, Some(1));
    admin.ok(&["user", "disable", "alice"]);
    let run = user.dfs(&["ls", "/home"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

#[test]
fn a_password_lets_in_whoever_knows_it_until_it_is_another() {
    let world = World::new();
    let (admin, user) = (&world.admin, &world.elsewhere);
    admin.ok(&["user", "add", "bob"]);
    let set = ["user", "passwd", "bob", "--password-stdin"];
    assert_eq!(admin.dfs_with_input(&set, b"correct horse\n").code, Some(0));

    let guessed = world.log_in_with("bob", "correct horsf\n", "--password-stdin");
    assert_eq!(guessed.code, Some(1), "{}", guessed.stderr);
    let nobody = world.log_in_with("nobody", "correct horse\n", "--password-stdin");
    assert_eq!(nobody.code, Some(1), "{}", nobody.stderr);
    // Neither tells whether there is such a user.
    let said = |stderr: &str| stderr.replace("nobody", "bob");
    assert_eq!(said(&guessed.stderr), said(&nobody.stderr));

    let run = world.log_in_with("bob", "correct horse\n", "--password-stdin");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(user.ok(&["whoami"]).contains("bob"));
    let profile = user.home().join("profile.toml");
    let kept = std::fs::read_to_string(&profile).unwrap();
    assert!(!kept.contains("horse"), "{kept}");

    assert_eq!(admin.dfs_with_input(&set, b"another horse\n").code, Some(0));
    let run = user.dfs(&["whoami"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    user.ok(&["logout"]);
    assert!(!profile.exists());
}

#[test]
fn a_token_is_written_to_a_new_file_that_its_owner_alone_can_read() {
    let machine = Machine::new();
    let up = machine.up(&[]);
    let create = ["token", "create", "--role", "data", "--out", "data.token"];
    assert_eq!(machine.ok(&create), "");
    let file = machine.work().join("data.token");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("dfsjoin1-") && text.ends_with('\n'));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What is there is not written over, and no token is made for it.
    assert_eq!(machine.dfs(&create).code, Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let tokens = machine.ok(&["token", "ls", "--json"]);
    let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
    assert_eq!(tokens["entries"].as_array().unwrap().len(), 1);
    // Nor is an empty file left of a token that was not made.
    let wrong = ["token", "create", "--role", "data", "--ttl", "99days"];
    let wrong = [&wrong[..], &["--out", "other.token"]].concat();
    assert_eq!(machine.dfs(&wrong).code, Some(1));
    let left = std::fs::read_dir(machine.work()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["data.token"]);
    drop(up);
}
