//! What somebody who means harm may try, as docs/security.md tells it: a
//! client towards the others, the log and the disk; another user of the host
//! towards the data folder.

mod common;

use std::time::{Duration, Instant};

use common::{Client, Server};

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
