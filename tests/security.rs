//! What somebody who means harm may try, as docs/security.md tells it: a
//! client towards the others, the log and the disk; another user of the host
//! towards the data folder.

mod common;

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Client, Folder, Server, command, fill_journal, wait};

/// What any other client may have to wait for an answer at the most.
const FAIR: Duration = Duration::from_secs(2);

/// The longest that a client waits for an answer, asked again and again while `work` is done.
fn longest_wait(server: &Server, work: impl FnOnce() + Send) -> Duration {
    let mut longest = Duration::ZERO;
    let mut other = server.connect();
    std::thread::scope(|scope| {
        let busy = scope.spawn(work);
        while !busy.is_finished() {
            let sent = Instant::now();
            assert_eq!(other.say("SOY otro"), "OK otro");
            longest = longest.max(sent.elapsed());
        }
    });
    longest
}

/// A pattern was once held against a name with a step for each pair of their
/// characters. 20,000 names that are nearly what a pattern asks for, over and
/// over, made one `LISTAR` hold everybody up for seconds (debug build).
#[test]
fn a_pattern_that_nearly_matches_everywhere_holds_nobody_up() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let name = "a".repeat(120);
    for from in ["00000..09999", "10000..19999"] {
        assert_eq!(client.say(&format!("ALTA {name}{from}")), "OK ALTA 10000");
    }
    let line = format!("LISTAR *{}b\n", "a".repeat(60));
    let longest = longest_wait(&server, || {
        client.send(line.repeat(16));
        (0..16).for_each(|_| assert_eq!(client.line(), "OK 0 DISPONIBLES"));
    });
    println!("longest wait: {longest:?}");
    assert!(longest < FAIR, "{longest:?}");
}

/// Who watched with a pattern that matches nothing was once taken through all
/// of the history in one turn: some of them were seconds for everybody.
#[test]
fn watchers_of_nothing_hold_nobody_up() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let names: Vec<_> = (0..30).map(|n| format!("{}{n:02}", "a".repeat(118))).collect();
    for name in &names {
        assert_eq!(client.say(&format!("ALTA {name}")), "OK ALTA 1");
    }
    let all = names.join(", ");
    for number in 1..=200 {
        let got = client.say(&format!("RESERVAR {all}"));
        assert!(got.starts_with("OK RESERVADO"), "{got}");
        client.say(&format!("CANCELAR #{number}"));
    }
    let mut watchers: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let line = format!("OBSERVAR *{}b tras=0\n", "a".repeat(60));
    let longest = longest_wait(&server, || {
        watchers.iter_mut().for_each(|watcher| watcher.send(&line));
        watchers.iter_mut().for_each(|it| assert_eq!(it.line(), "OK OBSERVANDO tras=0"));
    });
    println!("longest wait: {longest:?}");
    assert!(longest < FAIR, "{longest:?}");
    // And they are not forgotten in the middle.
    assert_eq!(client.say(&format!("ALTA {}b", "a".repeat(60))), "OK ALTA 1");
    for watcher in &mut watchers {
        let notice = watcher.line();
        assert!(notice.ends_with("ab"), "{notice}");
    }
}

/// Links in a folder that others may write in were once followed: the next
/// compaction emptied and overwrote whatever `journal.new` pointed to.
#[test]
fn a_link_in_the_data_folder_leads_nowhere() {
    let folder = Folder::new();
    let victim = Folder::new();
    let precious = victim.join("precious");
    std::fs::write(&precious, "precious").unwrap();
    let mut server = Server::durable(folder.path(), &[]);
    symlink(&precious, folder.join("journal.new")).unwrap();
    fill_journal(&mut server);
    server.stop();
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");

    // A journal that is empty is made anew, not what it points to.
    let empty = victim.join("empty");
    std::fs::write(&empty, "").unwrap();
    std::fs::remove_file(folder.join("journal")).unwrap();
    symlink(&empty, folder.join("journal")).unwrap();
    Server::durable(folder.path(), &[]).stop();
    assert_eq!(std::fs::read(&empty).unwrap(), b"");

    // The lock is not made wherever it points to.
    let nowhere = victim.join("nowhere");
    std::fs::remove_file(folder.join("lock")).unwrap();
    symlink(&nowhere, folder.join("lock")).unwrap();
    let error = fails(&["--data-dir", text(folder.path())]);
    assert!(error.contains("not a regular file"), "{error}");
    assert!(!nowhere.exists());
}

/// A pipe in the place of a file was once waited for, without a word: at the
/// start, by `check`, and on SIGHUP with everybody connected.
#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    for name in ["journal", "journal.new", "lock"] {
        let folder = Folder::new();
        make_pipe(&folder.join(name));
        let error = fails(&["--data-dir", text(folder.path())]);
        assert!(error.contains("not a regular file"), "{name}: {error}");
        let error = fails(&["check", "--data-dir", text(folder.path())]);
        assert!(error.contains("not a regular file") || name != "journal", "{error}");
    }
    let folder = Folder::new();
    let inventory = folder.join("inventory");
    std::fs::write(&inventory, "Sala 1\n").unwrap();
    let mut server = Server::in_memory(&["--inventory", text(&inventory)]);
    std::fs::remove_file(&inventory).unwrap();
    make_pipe(&inventory);
    server.signal("HUP");
    server.wait_log("it is a pipe and no file; nothing of that file was taken");
    assert_eq!(server.connect().list("LISTAR"), ["Sala 1"]);
    server.stop();
}

#[test]
fn an_inventory_without_end_is_refused() {
    let error = fails(&["--in-memory", "--inventory", "/dev/zero"]);
    assert!(error.contains("it has more than 268435456 bytes"), "{error}");
}

#[test]
fn files_are_ours_alone_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let folder = Folder::new();
        let data = folder.join("made/for/it");
        let script = format!("umask {umask}; exec \"$0\" --listen 127.0.0.1:0 --data-dir \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_reservad"), text(&data)]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut server = Server::spawn(&mut command);
        let mode = |name: &str| folder.join(name).metadata().unwrap().mode() & 0o7777;
        for made in ["made", "made/for", "made/for/it"] {
            assert_eq!(mode(made), 0o700, "{made}, umask {umask}");
        }
        fill_journal(&mut server);
        for made in ["journal", "lock"] {
            assert_eq!(mode(&format!("made/for/it/{made}")), 0o600, "{made}, umask {umask}");
        }
        server.stop();
    }
}

#[test]
fn a_folder_that_others_may_write_in_is_told() {
    let folder = Folder::new();
    let told = "others may write in the data folder";
    let started_with = |mode: u32| {
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let mut server = Server::durable(folder.path(), &[]);
        let log = server.log_so_far();
        server.stop();
        log
    };
    assert!(started_with(0o777).contains(told));
    assert!(started_with(0o1777).contains(told));
    assert!(!started_with(0o755).contains(told));
    assert!(!started_with(0o700).contains(told));
}

/// What a start that must fail says.
fn fails(arguments: &[&str]) -> String {
    let mut all = arguments.to_vec();
    if arguments[0] != "check" {
        all.extend(["--listen", "127.0.0.1:0"]);
    }
    let mut child = command(&all).spawn().unwrap();
    let mut said = String::new();
    let status = wait(&mut child);
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
