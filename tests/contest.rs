//! 200 clients at once fight for 50 rooms: each room has exactly one winner
//! in each round, also if the server is killed in the middle of one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{JoinHandle, spawn};

use support::{PATIENCE, Rng, Server, TempDir, seed, temp_dir};

const CLIENTS: usize = 200;
const ROOMS: usize = 50;

/// Who has which room, by room.
type Winners = BTreeMap<usize, (u64, usize)>;

/// What one client was told by room, in the order in which it asked.
type Told = Vec<(usize, Option<String>)>;

/// A server with the rooms of the contest and no others.
fn open(folder: &TempDir) -> Server {
    let rooms: Vec<_> = (1..=ROOMS).map(|room| format!("Sala {room}")).collect();
    let file = folder.path().join("rooms");
    std::fs::write(&file, rooms.join("\n")).unwrap();
    Server::durable(folder.path(), &["--inventory", file.to_str().unwrap()])
}

/// One client's try: it asks for every room, in an order of its own, at once.
/// What it was told by room, up to the end of the connection; `None` where it
/// was told nothing.
fn fight(
    address: SocketAddr,
    me: usize,
    round: usize,
    mut rng: Rng,
    start: Arc<Barrier>,
    tick: Sender<()>,
) -> Told {
    let mut rooms: Vec<_> = (1..=ROOMS).collect();
    rng.shuffle(&mut rooms);
    let connected = TcpStream::connect(address);
    start.wait();
    let mut told: Vec<_> = rooms.iter().map(|room| (*room, None)).collect();
    let Ok(stream) = connected else { return told };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let mut hello = format!("SOY c{me}\n");
    let mut left = &mut told[..];
    while !left.is_empty() {
        // A few at a time, so that everybody gets a word in.
        let count = left.len().min(1 + rng.below(4));
        let (portion, rest) = left.split_at_mut(count);
        left = rest;
        let mut lines = std::mem::take(&mut hello);
        let greets = !lines.is_empty();
        for (room, _) in &*portion {
            lines += &format!("RESERVAR Sala {room} nota=ronda{round} clave={round}/{room}\n");
        }
        let _ = stream.get_mut().write_all(lines.as_bytes());
        if greets && read(&mut stream).is_none_or(|line| line != format!("OK c{me}")) {
            return told;
        }
        for (_, answer) in portion {
            *answer = read(&mut stream);
            if answer.is_none() {
                return told;
            }
            let _ = tick.send(());
        }
    }
    told
}

/// The next whole line, if one comes.
fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.strip_suffix('\n').map(str::to_owned)
}

/// All at once; the results by client come from the handles.
fn begin(server: &Server, round: usize, rng: &mut Rng, tick: &Sender<()>) -> Vec<JoinHandle<Told>> {
    let start = Arc::new(Barrier::new(CLIENTS));
    let client = |me| {
        let (address, start, tick) = (server.address, Arc::clone(&start), tick.clone());
        let rng = Rng(rng.next_u64());
        spawn(move || fight(address, me, round, rng, start, tick))
    };
    (0..CLIENTS).map(client).collect()
}

/// Takes up the answers: nobody wins what somebody has. How many had none.
fn judge(results: Vec<JoinHandle<Told>>, winners: &mut Winners) -> usize {
    let mut unanswered = 0;
    for (me, result) in results.into_iter().enumerate() {
        for (room, answer) in result.join().expect("a client saw nothing odd") {
            let Some(answer) = answer else {
                unanswered += 1;
                continue;
            };
            if answer.starts_with("ERR 409 ") {
                continue;
            }
            let rest = answer.strip_prefix("OK RESERVADO #").unwrap_or_else(|| panic!("{answer}"));
            let (number, name) = rest.split_once(' ').unwrap();
            assert_eq!(name, format!("Sala {room}"));
            let won = (number.parse().unwrap(), me);
            let before = winners.insert(room, won);
            assert!(before.is_none_or(|before| before == won), "{room}: {before:?} and {won:?}");
        }
    }
    unanswered
}

/// Who holds which room by the server's list.
fn holders(server: &Server, round: usize) -> Winners {
    let mut holders = Winners::new();
    for line in server.connect().list("RESERVAS") {
        let fields: Vec<_> = line.split('\t').collect();
        let number = fields[0].strip_prefix('#').unwrap().parse().unwrap();
        let room = fields[1].strip_prefix("Sala ").unwrap().parse().unwrap();
        let client = fields[2].strip_prefix('c').unwrap().parse().unwrap();
        assert_eq!(fields[5], format!("ronda{round}"));
        assert_eq!(holders.insert(room, (number, client)), None, "{line}");
    }
    holders
}

/// The winners give their rooms back, each in its own name.
fn clear(server: &Server, winners: &Winners) {
    let mut client = server.connect();
    for (room, (number, winner)) in winners {
        assert_eq!(client.say(&format!("SOY c{winner}")), format!("OK c{winner}"));
        let reply = client.say(&format!("CANCELAR Sala {room}"));
        assert_eq!(reply, format!("OK CANCELADO #{number} Sala {room}"));
    }
    assert_eq!(client.list("LISTAR").len(), ROOMS);
}

#[test]
fn each_room_has_exactly_one_winner_in_each_round() {
    let mut rng = Rng(seed());
    let folder = temp_dir();
    let server = open(&folder);
    let (tick, _ticks) = channel();
    let mut numbers = BTreeSet::new();
    for round in 1..=3 {
        let mut winners = Winners::new();
        let results = begin(&server, round, &mut rng, &tick);
        assert_eq!(judge(results, &mut winners), 0, "somebody was not answered");
        assert_eq!(winners.len(), ROOMS);
        assert_eq!(holders(&server, round), winners);
        let clients: BTreeSet<_> = winners.values().map(|(_, client)| *client).collect();
        assert!(clients.len() > 5, "that was no contest: {clients:?}");
        for (number, _) in winners.values() {
            assert!(numbers.insert(*number), "#{number} was given twice");
        }
        clear(&server, &winners);
    }
    // One number for each that won, and none for anybody else.
    assert_eq!(numbers, (1..=3 * ROOMS as u64).collect());
    server.stop();
}

#[test]
fn acknowledged_winners_are_the_holders_after_a_kill_in_the_middle() {
    let mut rng = Rng(seed());
    let folder = temp_dir();
    let mut server = open(&folder);
    let mut unanswered = 0;
    for round in 1..=4 {
        let (tick, ticks) = channel();
        let mut winners = Winners::new();
        let results = begin(&server, round, &mut rng, &tick);
        drop(tick);
        for _ in 0..rng.below(CLIENTS * ROOMS / 2) {
            ticks.recv_timeout(PATIENCE).expect("the round goes on");
        }
        server.kill();
        unanswered += judge(results, &mut winners);
        server = open(&folder);
        let held = holders(&server, round);
        for (room, winner) in &winners {
            assert_eq!(held.get(room), Some(winner), "Sala {room} was acknowledged");
        }
        // The round goes on where it was: with its key everybody may ask
        // again, and who has a room already gets the same number.
        let (tick, _ticks) = channel();
        let results = begin(&server, round, &mut rng, &tick);
        assert_eq!(judge(results, &mut winners), 0, "somebody was not answered");
        assert_eq!(winners.len(), ROOMS);
        assert_eq!(holders(&server, round), winners);
        for (room, winner) in &held {
            assert_eq!(winners.get(room), Some(winner), "Sala {room} has changed hands");
        }
        clear(&server, &winners);
    }
    println!("{unanswered} requests were without an answer at a kill");
    assert!(unanswered > 0, "no kill fell into a round");
    server.stop();
}
