//! 200 clients compete for 50 resources. Each resource has exactly one winner per round, even if the
//! server is killed during the round.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{JoinHandle, spawn};

use support::{PATIENCE, Rng, Server, TempDir, seed, temp_dir};

const CLIENTS: usize = 200;
const RESOURCES: usize = 50;

/// The number of the reservation and the client, by resource.
type Winners = BTreeMap<usize, (u64, usize)>;

/// The replies to one client by resource, in the order of its requests.
type Replies = Vec<(usize, Option<String>)>;

/// Starts a server that has only the resources of the contest.
fn start_server(directory: &TempDir) -> Server {
    let resources: Vec<_> = (1..=RESOURCES).map(|resource| format!("Sala {resource}")).collect();
    let file = directory.path().join("resources");
    std::fs::write(&file, resources.join("\n")).unwrap();
    Server::durable(directory.path(), &["--inventory", file.to_str().unwrap()])
}

/// Requests every resource as one client, in a random order. Returns the replies up to the end of
/// the connection; `None` for a request without one.
fn compete(
    address: SocketAddr,
    client: usize,
    round: usize,
    mut rng: Rng,
    start: Arc<Barrier>,
    on_reply: Sender<()>,
) -> Replies {
    let mut resources: Vec<_> = (1..=RESOURCES).collect();
    rng.shuffle(&mut resources);
    let connected = TcpStream::connect(address);
    start.wait();
    let mut replies: Vec<_> = resources.iter().map(|resource| (*resource, None)).collect();
    let Ok(stream) = connected else { return replies };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let mut hello = format!("SOY c{client}\n");
    let mut left = &mut replies[..];
    while !left.is_empty() {
        // A few requests at a time, so that the clients alternate.
        let count = left.len().min(1 + rng.below(4));
        let (batch, rest) = left.split_at_mut(count);
        left = rest;
        let mut lines = std::mem::take(&mut hello);
        let greets = !lines.is_empty();
        for (resource, _) in &*batch {
            lines +=
                &format!("RESERVAR Sala {resource} nota=ronda{round} clave={round}/{resource}\n");
        }
        let _ = stream.get_mut().write_all(lines.as_bytes());
        if greets && read(&mut stream).is_none_or(|line| line != format!("OK c{client}")) {
            return replies;
        }
        for (_, answer) in batch {
            *answer = read(&mut stream);
            if answer.is_none() {
                return replies;
            }
            let _ = on_reply.send(());
        }
    }
    replies
}

/// Returns the next complete line, or `None` at the end of the connection.
fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.strip_suffix('\n').map(str::to_owned)
}

/// Starts all clients at the same time. The handles return their replies.
fn start_round(
    server: &Server,
    round: usize,
    rng: &mut Rng,
    on_reply: &Sender<()>,
) -> Vec<JoinHandle<Replies>> {
    let start = Arc::new(Barrier::new(CLIENTS));
    let client = |client| {
        let (address, start, on_reply) = (server.address, Arc::clone(&start), on_reply.clone());
        let rng = Rng(rng.next_u64());
        spawn(move || compete(address, client, round, rng, start, on_reply))
    };
    (0..CLIENTS).map(client).collect()
}

/// Adds the winners, and checks that no resource has two. Returns the number of requests without a
/// reply.
fn add_winners(results: Vec<JoinHandle<Replies>>, winners: &mut Winners) -> usize {
    let mut unanswered = 0;
    for (client, result) in results.into_iter().enumerate() {
        for (resource, answer) in result.join().expect("the replies of a client are valid") {
            let Some(answer) = answer else {
                unanswered += 1;
                continue;
            };
            if answer.starts_with("ERR 409 ") {
                continue;
            }
            let rest = answer.strip_prefix("OK RESERVADO #").unwrap_or_else(|| panic!("{answer}"));
            let (number, name) = rest.split_once(' ').unwrap();
            assert_eq!(name, format!("Sala {resource}"));
            let won = (number.parse().unwrap(), client);
            let before = winners.insert(resource, won);
            assert!(
                before.is_none_or(|before| before == won),
                "{resource}: {before:?} and {won:?}"
            );
        }
    }
    unanswered
}

/// Returns the holders that the server lists.
fn holders(server: &Server, round: usize) -> Winners {
    let mut holders = Winners::new();
    for line in server.connect().list("RESERVAS") {
        let fields: Vec<_> = line.split('\t').collect();
        let number = fields[0].strip_prefix('#').unwrap().parse().unwrap();
        let resource = fields[1].strip_prefix("Sala ").unwrap().parse().unwrap();
        let client = fields[2].strip_prefix('c').unwrap().parse().unwrap();
        assert_eq!(fields[5], format!("ronda{round}"));
        assert_eq!(holders.insert(resource, (number, client)), None, "{line}");
    }
    holders
}

/// Cancels each reservation as its holder.
fn cancel_all(server: &Server, winners: &Winners) {
    let mut client = server.connect();
    for (resource, (number, winner)) in winners {
        assert_eq!(client.say(&format!("SOY c{winner}")), format!("OK c{winner}"));
        let reply = client.say(&format!("CANCELAR Sala {resource}"));
        assert_eq!(reply, format!("OK CANCELADO #{number} Sala {resource}"));
    }
    assert_eq!(client.list("LISTAR").len(), RESOURCES);
}

#[test]
fn each_resource_has_exactly_one_winner_per_round() {
    let mut rng = Rng(seed());
    let directory = temp_dir();
    let server = start_server(&directory);
    let (on_reply, _ticks) = channel();
    let mut numbers = BTreeSet::new();
    for round in 1..=3 {
        let mut winners = Winners::new();
        let results = start_round(&server, round, &mut rng, &on_reply);
        assert_eq!(add_winners(results, &mut winners), 0, "a request has no reply");
        assert_eq!(winners.len(), RESOURCES);
        assert_eq!(holders(&server, round), winners);
        let clients: BTreeSet<_> = winners.values().map(|(_, client)| *client).collect();
        assert!(clients.len() > 5, "too few different winners: {clients:?}");
        for (number, _) in winners.values() {
            assert!(numbers.insert(*number), "#{number} was issued twice");
        }
        cancel_all(&server, &winners);
    }
    // Only granted reservations got a number.
    assert_eq!(numbers, (1..=3 * RESOURCES as u64).collect());
    server.stop();
}

#[test]
fn acknowledged_winners_are_the_holders_after_a_kill() {
    let mut rng = Rng(seed());
    let directory = temp_dir();
    let mut server = start_server(&directory);
    let mut unanswered = 0;
    for round in 1..=4 {
        let (on_reply, reply_events) = channel();
        let mut winners = Winners::new();
        let results = start_round(&server, round, &mut rng, &on_reply);
        drop(on_reply);
        for _ in 0..rng.below(CLIENTS * RESOURCES / 2) {
            reply_events.recv_timeout(PATIENCE).expect("the round continues");
        }
        server.kill();
        unanswered += add_winners(results, &mut winners);
        server = start_server(&directory);
        let held = holders(&server, round);
        for (resource, winner) in &winners {
            assert_eq!(held.get(resource), Some(winner), "Sala {resource} was acknowledged");
        }
        // The round continues. Each client repeats its requests with their keys, and a winner gets
        // the number that it has already.
        let (on_reply, _ticks) = channel();
        let results = start_round(&server, round, &mut rng, &on_reply);
        assert_eq!(add_winners(results, &mut winners), 0, "a request has no reply");
        assert_eq!(winners.len(), RESOURCES);
        assert_eq!(holders(&server, round), winners);
        for (resource, winner) in &held {
            assert_eq!(winners.get(resource), Some(winner), "Sala {resource} has another holder");
        }
        cancel_all(&server, &winners);
    }
    println!("{unanswered} requests had no reply because of a kill");
    assert!(unanswered > 0, "no kill happened during a round");
    server.stop();
}
