//! The traps of an edge-triggered reactor, over real sockets against the real server. Input that
//! must have arrived before the server reads is sent while the server is stopped (SIGSTOP), so that
//! no test depends on timing.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reservad::limits::{
    BACKLOG, COMMAND_BUDGET, PATTERNS_ALWAYS, PATTERNS_BYTES, READ_BUDGET_BYTES, STALL_DEFAULT_MS,
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use support::skip::skip;
use support::{Client, PATIENCE, Server, TempDir, temp_dir, until};

/// Returns the server's own memory, without mapped files and memory of the kernel.
fn anonymous_bytes(server: &Server) -> usize {
    server.proc_status("RssAnon:").parse::<usize>().unwrap() * 1024
}

/// Returns the value of a key of `ESTADO`.
fn figure(client: &mut Client, key: &str) -> String {
    let lines = client.list("ESTADO");
    let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{key}=")));
    line.unwrap_or_else(|| panic!("no {key} in {lines:?}")).to_owned()
}

/// Returns a connection with minimal buffers. Little fits into the kernel, so output that it does
/// not read stays in the server.
fn thin(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads one line byte by byte, so that nothing after it is read.
fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Reads exactly these lines.
fn expect_lines<'a>(stream: &mut TcpStream, lines: impl IntoIterator<Item = &'a str>) {
    let mut want = String::new();
    for line in lines {
        want += line;
        want.push('\n');
    }
    let mut got = vec![0; want.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == want.as_bytes(), "the list differs");
}

/// Returns a server with the resources `Sala 00000 …` and so on, and their names.
fn with_resources(count: usize, tail: &str, arguments: &[&str]) -> (TempDir, Server, Vec<String>) {
    let names: Vec<_> = (0..count).map(|n| format!("Sala {n:05}{tail}")).collect();
    let directory = temp_dir();
    let file = directory.path().join("inventory");
    std::fs::write(&file, names.join("\n")).unwrap();
    let mut all = vec!["--inventory", file.to_str().unwrap()];
    all.extend(arguments);
    let server = Server::in_memory(&all);
    (directory, server, names)
}

/// Raises the descriptor limit of this process. Returns `false`, and reports the test as skipped,
/// if the limit is too low.
fn may_open(descriptors: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let fits = limit.maximum.is_none_or(|most| most >= descriptors);
    if !fits || setrlimit(Resource::Nofile, raised).is_err() {
        skip(format_args!("needs {descriptors} descriptors, the hard limit is {limit:?}"));
        return false;
    }
    true
}

#[test]
fn input_left_by_the_read_budget_is_read() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    assert_eq!(client.say("SOY ana"), "OK ana");
    let lines = 4 * READ_BUDGET_BYTES / "SOY luis\n".len();
    server.while_stopped(|| client.send("SOY luis\n".repeat(lines)));
    for _ in 0..lines {
        assert_eq!(client.line(), "OK luis");
    }
    // The same with bytes that contain no line.
    let long = "x".repeat(4 * READ_BUDGET_BYTES);
    server.while_stopped(|| client.send(format!("{long}\nSOY eva\n")));
    assert!(client.line().starts_with("ERR 413 "));
    assert_eq!(client.line(), "OK eva");
}

#[test]
fn buffered_lines_are_run_without_new_input() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    assert_eq!(client.say("SOY ana"), "OK ana");
    let lines = 12 * COMMAND_BUDGET;
    let text = "SOY luis\n".repeat(lines);
    assert!(text.len() < READ_BUDGET_BYTES, "one read takes all of it");
    server.while_stopped(|| client.send(&text));
    for _ in 0..lines {
        assert_eq!(client.line(), "OK luis");
    }
    assert_eq!(client.say("SOY eva"), "OK eva");
}

#[test]
fn pipelined_lines_after_a_list_that_is_read_late() {
    let (_folder, server, names) = with_resources(5_000, "", &[]);
    let mut stream = thin(server.address);
    let lines = 300;
    stream.write_all("LISTAR\n".repeat(3).as_bytes()).unwrap();
    stream.write_all("LISTAR Sala 04999\n".repeat(lines).as_bytes()).unwrap();
    // The first list fills all buffers, and the other lines wait behind it.
    for _ in 0..3 {
        assert_eq!(read_line(&mut stream), "OK 5000 DISPONIBLES");
        expect_lines(&mut stream, names.iter().map(String::as_str));
    }
    for _ in 0..lines {
        expect_lines(&mut stream, ["OK 1 DISPONIBLES", "Sala 04999"]);
    }
}

#[test]
fn key_is_reused_while_other_clients_are_served() {
    let server = Server::in_memory(&[]);
    let address = server.address;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let talkers: Vec<_> = (0..4)
            .map(|talker| {
                let over = &over;
                scope.spawn(move || {
                    let mut client = Client::to(address);
                    let mut said = 0;
                    while !over.load(Ordering::Relaxed) {
                        let name = format!("t{talker}n{said}");
                        assert_eq!(client.say(&format!("SOY {name}")), format!("OK {name}"));
                        said += 1;
                    }
                    said
                })
            })
            .collect();
        let mut old: Vec<Client> = Vec::new();
        for round in 0..30 {
            // In one batch of events, old clients send a line and close in different ways, and new
            // ones connect and send a line.
            let mut new: Vec<_> = server.while_stopped(|| {
                for (at, mut client) in old.drain(..).enumerate() {
                    client.send("RESERVAR * hasta=salir\nLISTAR\n");
                    match at % 3 {
                        0 => SockRef::from(&*client.stream()).set_linger(Some(Duration::ZERO)),
                        1 => SockRef::from(&*client.stream()).shutdown(Shutdown::Write),
                        _ => Ok(()),
                    }
                    .unwrap();
                }
                (0..40)
                    .map(|at| {
                        let mut client = Client::to(address);
                        client.send(format!("SOY r{round}c{at}\n"));
                        client
                    })
                    .collect()
            });
            for (at, client) in new.iter_mut().enumerate() {
                assert_eq!(client.line(), format!("OK r{round}c{at}"));
            }
            old = new;
        }
        drop(old);
        over.store(true, Ordering::Relaxed);
        for talker in talkers {
            assert!(talker.join().unwrap() > 0);
        }
    });
    let mut last = server.connect();
    until("only one client is left", || figure(&mut last, "clients") == "1");
    assert_eq!(last.list("LISTAR").len(), 3, "no reservation is left");
}

#[test]
fn partial_writes_neither_lose_nor_repeat_output() {
    let (_folder, server, names) = with_resources(20_000, " con una cola algo larga", &[]);
    let mut readers: Vec<_> = (0..4).map(|_| thin(server.address)).collect();
    for reader in &mut readers {
        reader.write_all(b"LISTAR\nSOY ana\n").unwrap();
    }
    for reader in &mut readers {
        assert_eq!(read_line(reader), "OK 20000 DISPONIBLES");
    }
    for part in names.chunks(1000) {
        for reader in &mut readers {
            expect_lines(reader, part.iter().map(String::as_str));
        }
    }
    for reader in &mut readers {
        assert_eq!(read_line(reader), "OK ana");
    }
}

#[test]
fn all_connections_in_the_backlog_are_accepted() {
    let server = Server::in_memory(&[]);
    if !may_open(2_000) {
        return;
    }
    let connect = || {
        let mut client = server.connect();
        client.send("SOY ana\n");
        client
    };
    // All of them are in the backlog before the server accepts.
    let mut clients: Vec<_> =
        server.while_stopped(|| (0..1000).map(|_| connect()).collect::<Vec<_>>());
    clients.extend((0..100).map(|_| connect()));
    for client in &mut clients {
        assert_eq!(client.line(), "OK ana");
    }
    assert_eq!(figure(&mut clients[0], "clients"), "1100");
    // Three at once, many times.
    drop(clients);
    for _ in 0..20 {
        let mut three: Vec<_> = server.while_stopped(|| [(); 3].map(|()| connect()).into());
        three.iter_mut().for_each(|client: &mut Client| assert_eq!(client.line(), "OK ana"));
    }
}

/// Returns whether the system permits a backlog of that length, which it must in CI.
fn may_have_backlog(length: i32) -> bool {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most: i32 = text.trim().parse().unwrap();
    let on_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(most >= length || !on_ci, "net.core.somaxconn is {most}, and CI skips nothing");
    if most < length {
        skip(format_args!("needs a backlog of {length}, net.core.somaxconn is {most}"));
    }
    most >= length
}

/// A connection without room in the backlog is delayed until TCP retries, a second later at the
/// earliest.
#[test]
fn thousand_connections_at_once_need_no_retries() {
    const COUNT: usize = 1000;
    if !may_open(2 * COUNT as u64) || !may_have_backlog(BACKLOG) {
        return;
    }
    let server = Server::in_memory(&[]);
    let mut streams: Vec<TcpStream> = server.while_stopped(|| {
        let begin = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_nonblocking(true).unwrap();
            match socket.connect(&server.address.into()) {
                Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                    panic!("{error}")
                }
                _ => TcpStream::from(socket),
            }
        };
        let streams: Vec<_> = (0..COUNT).map(|_| begin()).collect();
        // The server is stopped, so only the backlog can have accepted them, and no retry would
        // help if it were full.
        until("all of them are connected", || streams.iter().all(|s| s.peer_addr().is_ok()));
        streams
    });
    for stream in &mut streams {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"LISTAR\n").unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_line(stream), "OK 3 DISPONIBLES");
        (1..=3).for_each(|n| assert_eq!(read_line(stream), format!("Habitación {n}")));
    }
}

/// Sends one line to a server that may be full. Returns `None` if the connection is rejected.
fn try_say(address: SocketAddr, line: &str) -> Option<(TcpStream, String)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(format!("{line}\n").as_bytes());
    let mut reply = Vec::new();
    let mut byte = [0];
    while reply.last() != Some(&b'\n') {
        match stream.read(&mut byte) {
            Ok(1) => reply.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("neither yes nor no"),
            // It is closed without a reply, or a reset has overtaken the reply.
            _ => return None,
        }
    }
    let reply = String::from_utf8(reply).unwrap();
    match reply.starts_with("ERR 503 ") {
        true => None,
        false => Some((stream, reply.trim_end().to_owned())),
    }
}

/// Fills a server until it rejects clients. Checks that other clients are not affected, that it
/// does not spin, and that it recovers.
fn full_and_recovering(server: &Server, at_least: usize, at_most: usize) {
    let address = server.address;
    let mut served = Vec::new();
    while let Some((stream, reply)) = try_say(address, "SOY ana") {
        assert_eq!(reply, "OK ana");
        served.push(stream);
        assert!(served.len() <= at_most, "no client is rejected");
    }
    assert!(served.len() >= at_least, "only {} were served", served.len());
    for _ in 0..30 {
        assert!(try_say(address, "SOY ana").is_none());
    }
    // A client that sends nothing gets the reason, and is closed.
    let mut refused = Client::to(address);
    assert!(refused.line().starts_with("ERR 503 "));
    assert!(refused.is_closed());
    for stream in &mut served {
        stream.write_all(b"LISTAR Habit*\n").unwrap();
        assert_eq!(read_line(stream), "OK 3 DISPONIBLES");
        (0..3).for_each(|_| drop(read_line(stream)));
    }
    server.wait_state("S");
    let before = server.cpu_ticks();
    // The server must not run during this time.
    std::thread::sleep(Duration::from_secs(1));
    let used = server.cpu_ticks() - before;
    assert!(used <= 5, "it spins: {used} hundredths of a second in one second");
    served.truncate(served.len() - 2);
    let mut back = None;
    until("there is room again", || {
        back = try_say(address, "SOY eva");
        back.is_some()
    });
    served[0].write_all(b"SOY luis\n").unwrap();
    assert_eq!(read_line(&mut served[0]), "OK luis");
}

#[test]
fn server_without_descriptors_rejects_clients_and_recovers() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_reservad")]);
    command.args(["--in-memory", "--listen", "127.0.0.1:0", "--max-clients", "1000"]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let server = Server::spawn(&mut command);
    full_and_recovering(&server, 20, 40);
}

#[test]
fn server_at_max_clients_rejects_clients_and_recovers() {
    let server = Server::in_memory(&["--max-clients", "5"]);
    full_and_recovering(&server, 5, 5);
    server.stop();
}

#[test]
fn max_clients_are_served() {
    let server = Server::in_memory(&["--max-clients", "2"]);
    let mut first = server.connect();
    assert_eq!(first.say("SOY ana"), "OK ana");
    for round in 0..20 {
        let mut second = server.connect();
        assert_eq!(second.say("SOY eva"), "OK eva", "round {round}");
        let mut third = server.connect();
        assert!(third.line().starts_with("ERR 503 "));
        assert_eq!(second.say("SALIR"), "OK ADIÓS");
        assert!(second.is_closed());
        drop(second);
        drop(third);
        // The server must know that the client has closed. With two processors, the end of one
        // connection and the start of the next may arrive in either order.
        until("a place is free", || figure(&mut first, "clients") == "1");
    }
    assert_eq!(figure(&mut first, "max_clients"), "2");
}

#[test]
fn data_and_end_in_one_event_are_both_handled() {
    let server = Server::in_memory(&[]);
    for lines in [1, COMMAND_BUDGET, COMMAND_BUDGET + 1, 5 * COMMAND_BUDGET] {
        for tail in ["", "LIST", "\r", " "] {
            let mut client = server.connect();
            server.while_stopped(|| {
                client.send("SOY ana\n".repeat(lines) + tail);
                client.stream().shutdown(Shutdown::Write).unwrap();
            });
            let got = client.rest();
            let replies = "OK ana\n".repeat(lines);
            let rest = got.strip_prefix(&replies).unwrap_or_else(|| panic!("{lines} {tail:?}"));
            match tail {
                "" | " " => assert_eq!(rest, ""),
                _ => assert!(rest.starts_with("ERR 400 ") && rest.ends_with('\n'), "{rest:?}"),
            }
        }
    }
    // More than one read.
    let mut client = server.connect();
    let lines = 3 * READ_BUDGET_BYTES / "SOY ana\n".len();
    server.while_stopped(|| {
        client.send("SOY ana\n".repeat(lines));
        client.stream().shutdown(Shutdown::Write).unwrap();
    });
    assert!(client.rest() == "OK ana\n".repeat(lines));
}

#[test]
fn reset_after_a_half_close_is_noticed() {
    let (_folder, server, _) = with_resources(20_000, "", &[]);
    let mut other = server.connect();
    let mut gone = thin(server.address);
    gone.write_all(b"RESERVAR Sala 00000 hasta=salir\nLISTAR\n").unwrap();
    gone.shutdown(Shutdown::Write).unwrap();
    assert!(read_line(&mut gone).starts_with("OK RESERVADO #1 "));
    assert_eq!(read_line(&mut gone), "OK 19999 DISPONIBLES");
    assert_eq!(figure(&mut other, "clients"), "2", "it has still a list to read");
    reset(gone);
    // Long before the stall timeout.
    assert!(PATIENCE.as_millis() < u128::from(STALL_DEFAULT_MS));
    until("it is known to be gone", || figure(&mut other, "clients") == "1");
    assert_eq!(other.say("VERIFICAR #1").split(' ').nth(1), Some("410"));
}

#[test]
fn reservation_ends_on_time_without_any_input() {
    let directory = temp_dir();
    let server = Server::durable(directory.path(), &[]);
    let journal = || std::fs::read_to_string(directory.path().join("journal")).unwrap();
    let mut client = server.connect();
    for round in 1..=2 {
        // The second time, no connection is left.
        let reply = client.say("RESERVAR Habitación 1 por=1s");
        assert!(reply.starts_with(&format!("OK RESERVADO #{round} ")), "{reply}");
        if round == 2 {
            client.send("SALIR\n");
            client.rest();
        }
        let end = format!(" EXPIRED #{round}");
        until("the end is in the journal", || journal().contains(&format!("{end}\n")));
        let text = journal();
        let ended = text.lines().find(|line| line.ends_with(&end)).unwrap();
        let begun = text.lines().find(|line| line.contains(&format!(" RESERVED #{round} ")));
        let until = begun.unwrap().split(" until=").nth(1).unwrap().split(' ').next().unwrap();
        assert!(ended.starts_with(&format!("{until} EXPIRED #")), "{ended} is not {until}");
    }
    let mut client = server.connect();
    assert_eq!(client.list("LISTAR").len(), 3);
}

#[test]
fn idle_server_does_not_wake_up() {
    let server = Server::in_memory(&[]);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.list("LISTAR").len(), 3);
        if at % 3 == 0 {
            client.send("LISTAR sin termin");
        }
    }
    let reply = clients[0].say("ar\nRESERVAR Habitación 1 por=1h");
    assert!(reply.starts_with("ERR 40"), "{reply}");
    assert!(clients[0].line().starts_with("OK RESERVADO #1 "));
    server.wait_state("S");
    let threads = server.proc_status("Threads:");
    assert_eq!(threads, "1");
    let (woken, ticks) = (server.wake_ups(), server.cpu_ticks());
    // The server must not wake up during this time.
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(server.wake_ups() - woken, 0, "wake-ups in ten seconds");
    assert_eq!(server.cpu_ticks() - ticks, 0);
    assert_eq!(clients[1].list("LISTAR").len(), 2);
}

#[test]
fn client_with_many_lines_does_not_delay_others() {
    let server = Server::in_memory(&[]);
    let address = server.address;
    let over = AtomicBool::new(false);
    let mut greedy = TcpStream::connect(address).unwrap();
    let mut reader = greedy.try_clone().unwrap();
    let eaten = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let text = "AYUDA\n".repeat(10_000);
            while !over.load(Ordering::Relaxed) {
                greedy.write_all(text.as_bytes()).unwrap();
            }
            let _ = greedy.shutdown(Shutdown::Both);
        });
        let eater = scope.spawn(|| {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                eaten.fetch_add(count, Ordering::Relaxed);
            }
        });
        let mut others: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for round in 0..100 {
            for other in &mut others {
                assert_eq!(other.say("SOY ana"), "OK ana");
            }
            let mut new = server.connect();
            assert_eq!(new.say("SOY eva"), "OK eva", "round {round}");
        }
        until("the greedy one was served too", || eaten.load(Ordering::Relaxed) > 1_000_000);
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        eater.join().unwrap();
    });
}

#[test]
fn client_that_never_reads_is_paused_and_then_closed() {
    const CLIENTS: usize = 40;
    let server = Server::in_memory(&["--stall-timeout", "1s"]);
    let mut other = server.connect();
    assert_eq!(other.say("SOY ana"), "OK ana");
    let before = anonymous_bytes(&server);
    let mut most = before;
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut stream = thin(server.address);
                scope.spawn(move || {
                    let text = "AYUDA\n".repeat(10_000);
                    let mut sent = 0;
                    loop {
                        match stream.write(text.as_bytes()) {
                            Ok(count) => sent += count,
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                                panic!("it is never closed")
                            }
                            Err(_) => return sent,
                        }
                    }
                })
            })
            .collect();
        until("all of them are closed", || {
            most = most.max(anonymous_bytes(&server));
            assert_eq!(other.say("SOY ana"), "OK ana", "the others do not notice");
            senders.iter().all(|sender| sender.is_finished())
        });
        for sender in senders {
            let sent = sender.join().unwrap();
            assert!(sent < 32 << 20, "the server took {sent} bytes and was never read");
        }
    });
    let each = (most - before) / CLIENTS;
    println!("at most {each} bytes for each client that never reads");
    assert!(each < 400_000, "{each} bytes for each");
    until("they are gone", || figure(&mut other, "clients") == "1");
}

#[test]
fn slow_reader_is_neither_stalled_nor_idle() {
    const LISTS: usize = 30;
    let tail = " y una cola muy larga para que la lista sea de varios cientos de kilobytes";
    let (_folder, server, names) =
        with_resources(5_000, tail, &["--stall-timeout", "1s", "--idle-timeout", "1s"]);
    let mut stream = thin(server.address);
    stream.write_all("LISTAR\n".repeat(LISTS).as_bytes()).unwrap();
    let begin = Instant::now();
    for _ in 0..LISTS {
        assert_eq!(read_line(&mut stream), "OK 5000 DISPONIBLES");
        for part in names.chunks(500) {
            expect_lines(&mut stream, part.iter().map(String::as_str));
            if begin.elapsed() < Duration::from_millis(2500) {
                std::thread::sleep(Duration::from_millis(50)); // this reader is slow
            }
        }
    }
    assert!(begin.elapsed() > Duration::from_secs(2), "too fast to prove anything");
}

#[test]
fn line_that_arrives_slowly_is_run() {
    let server = Server::in_memory(&["--stall-timeout", "1s"]);
    let mut client = server.connect();
    let begin = Instant::now();
    for byte in "RESERVAR Habitación 1 nota=despacio".bytes() {
        client.send([byte]);
        std::thread::sleep(Duration::from_millis(50)); // this writer is slow
    }
    assert!(begin.elapsed() > Duration::from_secs(1), "too fast to prove anything");
    client.send("\n");
    assert_eq!(client.line(), "OK RESERVADO #1 Habitación 1");
}

#[test]
fn unfinished_lines_keep_little_memory() {
    const CLIENTS: usize = 300;
    let server = Server::in_memory(&[]);
    let connect = || {
        let mut client = server.connect();
        client.send("\n".repeat(60_000) + "SOY ana\nSOY e");
        assert_eq!(client.line(), "OK ana");
        client
    };
    drop((0..5).map(|_| connect()).collect::<Vec<_>>());
    let before = anonymous_bytes(&server);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    let each = anonymous_bytes(&server).saturating_sub(before) / CLIENTS;
    println!("{each} bytes for each unfinished line");
    assert!(each < 2_000, "{each} bytes for each unfinished line");
    for client in &mut clients {
        client.send("va\n");
        assert_eq!(client.line(), "OK eva");
    }
}

#[test]
fn thousand_slow_readers_of_a_long_list_use_bounded_memory() {
    const READERS: usize = 1000;
    if !may_open(2_000) {
        return;
    }
    let (_folder, server, names) = with_resources(20_000, "", &[]);
    let mut owner = server.connect();
    let before = anonymous_bytes(&server);
    let mut readers = Vec::new();
    for at in 0..READERS {
        let mut reader = thin(server.address);
        reader.write_all(b"LISTAR\n").unwrap();
        assert_eq!(read_line(&mut reader), format!("OK {} DISPONIBLES", 20_000 - at));
        readers.push(reader);
        // Rooms are added and removed between the readers.
        let reply = owner.say(&format!("RESERVAR Sala {at:05}"));
        assert!(reply.starts_with("OK RESERVADO "), "{reply}");
        assert_eq!(owner.say(&format!("ALTA Nueva {at}")), "OK ALTA 1");
        assert_eq!(owner.say(&format!("BAJA Nueva {at}")), "OK BAJA 1");
    }
    let grown = anonymous_bytes(&server) - before;
    println!("{} bytes for each slow reader of a list of 20,000", grown / READERS);
    assert!(grown < READERS * 110_000, "{grown} bytes for {READERS} readers");
    for at in [0, 1, 499, READERS - 1] {
        expect_lines(&mut readers[at], names[at..].iter().map(String::as_str));
    }
    drop(readers);
    until("they are gone", || figure(&mut owner, "clients") == "1");
    assert_eq!(owner.say("SOY ana"), "OK ana");
}

/// Reserves all rooms, 32 at a time. Returns the number of rows of `RESERVAS`.
fn reserve_all(client: &mut Client, names: &[String]) -> usize {
    for targets in names.chunks(32) {
        let reply = client.say(&format!("RESERVAR {}", targets.join(", ")));
        assert!(reply.starts_with("OK RESERVADO "), "{reply}");
    }
    names.len()
}

/// Reads the rest of a list of `RESERVAS`, and checks that it is complete.
fn expect_bookings(stream: &mut TcpStream, names: &[String]) {
    let mut reader = std::io::BufReader::new(stream);
    for name in names {
        let mut row = String::new();
        std::io::BufRead::read_line(&mut reader, &mut row).unwrap();
        assert_eq!(row.split('\t').nth(1), Some(name.as_str()), "{row:?}");
    }
}

#[test]
fn slow_readers_of_all_reservations_use_bounded_memory() {
    const READERS: usize = 200;
    let (_folder, server, names) = with_resources(20_000, "", &[]);
    let mut owner = server.connect();
    let rows = reserve_all(&mut owner, &names);
    let before = anonymous_bytes(&server);
    let mut readers = Vec::new();
    for at in 0..READERS {
        let mut reader = thin(server.address);
        reader.write_all(b"RESERVAS\n").unwrap();
        assert_eq!(read_line(&mut reader), format!("OK {rows} RESERVAS"));
        readers.push(reader);
        let reply = owner.say(&format!("CANCELAR #{}\nRESERVAR Sala {at:05}", at + 1));
        assert!(reply.starts_with("OK CANCELADO "), "{reply}");
        assert!(!owner.line().is_empty());
        let cancelled = &names[at * 32..][..32];
        let again = owner.say(&format!("RESERVAR {}", cancelled.join(", ")));
        // The first rooms are reserved one by one by now.
        if !again.starts_with("OK") {
            for name in cancelled {
                owner.say(&format!("RESERVAR {name}"));
            }
        }
    }
    // Rows are bounded for all readers together, and pieces of text for each.
    let grown = anonymous_bytes(&server).saturating_sub(before);
    println!("{grown} bytes for {READERS} slow readers of {rows} reservations");
    assert!(grown < (40 << 20) + READERS * 110_000, "{grown} bytes");
    // The oldest readers were closed, and the latest get complete lists.
    let mut whole = 0;
    for reader in readers.iter_mut().rev().take(20) {
        expect_bookings(reader, &names);
        whole += 1;
    }
    assert_eq!(whole, 20);
}

#[test]
fn fast_reader_of_reservations_does_not_cause_a_slow_one_to_be_closed() {
    let (_folder, server, names) = with_resources(20_000, "", &[]);
    let mut busy = server.connect();
    let rows = reserve_all(&mut busy, &names);
    let mut slow = thin(server.address);
    slow.write_all(b"RESERVAS\n").unwrap();
    assert_eq!(read_line(&mut slow), format!("OK {rows} RESERVAS"));
    // More rows than all lists may keep, but never two lists at once.
    for _ in 0..60 {
        assert_eq!(busy.list("RESERVAS").len(), rows);
    }
    expect_bookings(&mut slow, &names);
}

#[test]
fn idle_connections_keep_little_memory() {
    const IDLE: usize = 10_000;
    const ACTIVE: usize = 100;
    if !may_open(IDLE as u64 + 2_000) {
        return;
    }
    let server = Server::in_memory(&[]);
    let connect = |name: String| {
        let mut client = server.connect();
        // Enough to notice if either buffer were kept.
        let blank = " ".repeat(3000) + "\n";
        client.send(format!("{blank}SOY {name}\nAYUDA\nLISTAR\n"));
        assert_eq!(client.line(), format!("OK {name}"));
        client
    };
    let finish = |client: &mut Client| {
        let head = client.line();
        client.list_after(&head);
        assert_eq!(client.line(), "OK 3 DISPONIBLES");
        (0..3).for_each(|_| assert!(client.line().starts_with("Habitación ")));
        // Keeps the connection open without the memory of a `Client`.
        client.stream().try_clone().unwrap()
    };
    let mut active: Vec<_> = (0..ACTIVE).map(|n| connect(format!("activa{n}"))).collect();
    active.iter_mut().for_each(|client| drop(finish(client)));
    let before = anonymous_bytes(&server);
    let idle: Vec<_> = (0..IDLE).map(|n| finish(&mut connect(format!("quieta{n}")))).collect();
    server.wait_state("S");
    let each = (anonymous_bytes(&server) - before) as f64 / IDLE as f64;
    println!("{each:.0} bytes for each idle connection");
    assert!(each <= 400.0, "{each} bytes for each idle connection");
    for _ in 0..20 {
        active.iter_mut().for_each(|client| client.send("RESERVAR *\n"));
        let replies: Vec<_> = active.iter_mut().map(Client::line).collect();
        assert_eq!(replies.iter().filter(|reply| reply.starts_with("OK RESERVADO ")).count(), 3);
        assert_eq!(active[0].say("CANCELAR Habitación 1").split(' ').next(), Some("OK"));
        for (client, reply) in active.iter_mut().zip(&replies) {
            if let Some(rest) = reply.strip_prefix("OK RESERVADO #") {
                client.say(&format!("CANCELAR #{}", rest.split(' ').next().unwrap()));
            }
        }
    }
    // Idle connections are still served.
    for (n, mut stream) in idle.into_iter().enumerate() {
        if n % 100 == 0 {
            stream.write_all(b"SOY despierta\n").unwrap();
            assert_eq!(read_line(&mut stream), "OK despierta");
        }
    }
}

#[test]
fn replies_go_to_their_clients_with_hundreds_in_one_turn() {
    let server = Server::in_memory(&[]);
    let mut clients: Vec<_> = (0..300).map(|_| server.connect()).collect();
    let mut seen = HashSet::new();
    for round in 0..5 {
        server.while_stopped(|| {
            for (at, client) in clients.iter_mut().enumerate() {
                client.send(format!("SOY c{at}r{round}\nALTA Sala {round} {at}\n"));
            }
        });
        for (at, client) in clients.iter_mut().enumerate() {
            let line = client.line();
            assert_eq!(line, format!("OK c{at}r{round}"));
            assert_eq!(client.line(), "OK ALTA 1");
            assert!(seen.insert(line));
        }
    }
    assert_eq!(figure(&mut clients[0], "resources"), "1503");
}

/// 64 lines that visit all names once delayed all other clients by their total cost, because only
/// their number was bounded.
#[test]
fn costly_lines_are_spread_over_several_turns() {
    let server = Server::in_memory(&["--max-resources", "30000"]);
    let mut costly = server.connect();
    for start in [0, 10_000] {
        assert_eq!(costly.say(&format!("ALTA Sala {start}..{}", start + 9_999)), "OK ALTA 10000");
    }
    let mut good = server.connect();
    assert_eq!(good.say("SOY ana"), "OK ana");
    server.while_stopped(|| {
        costly.send("LISTAR *a*a*zz\n".repeat(63) + "RESERVAR Sala 7\n");
        good.send("RESERVAR Sala 7\n");
    });
    assert_eq!(good.line(), "OK RESERVADO #1 Sala 7");
    for _ in 0..63 {
        assert_eq!(costly.line(), "OK 0 DISPONIBLES");
    }
    assert!(costly.line().starts_with("ERR 409 "));
    server.stop();
}

/// 32 patterns over 100,000 long names once took 1.5 seconds in which no other client was served.
#[test]
fn number_of_patterns_in_a_line_is_bounded_by_the_names() {
    let (_folder, server, _) = with_resources(20_000, &"a".repeat(108), &[]);
    let mut client = server.connect();
    let patterns = |count: usize| {
        let all: Vec<_> = (0..count).map(|n| format!("*{}*", "a".repeat(n + 1))).collect();
        all.join(", ")
    };
    let most = PATTERNS_ALWAYS.max(PATTERNS_BYTES / (20_000 * 118));
    let reply = client.say(&format!("RESERVAR {}", patterns(most + 1)));
    let more = most + 1;
    assert_eq!(
        reply,
        format!(
            "ERR 429 {more} patrones son demasiados; con tantos recursos, una línea admite {most} como máximo"
        )
    );
    let reply = client.say(&format!("WHEN {} for=1h", patterns(32)));
    assert_eq!(
        reply,
        format!(
            "ERR 429 32 patterns are too many; with this many resources, a line takes at most {most}"
        )
    );
    let reply = client.say(&format!("RESERVAR {}", patterns(most)));
    assert!(reply.starts_with("OK RESERVADO #1 Sala 00000"), "{reply}");
}

/// Four clients whose lines caused many events once filled every commit, because the others were
/// queued behind them again.
#[test]
fn client_after_a_full_commit_is_in_the_next_one() {
    const HOGS: usize = 4;
    const SHARES: usize = 12;
    let server = Server::in_memory(&[]);
    let mut hogs: Vec<_> = (0..HOGS).map(|_| server.connect()).collect();
    let mut good = server.connect();
    hogs.iter_mut().chain([&mut good]).for_each(|client| drop(client.say("SOY ana")));
    server.while_stopped(|| {
        for (at, hog) in hogs.iter_mut().enumerate() {
            let names: Vec<_> = (1..=16).map(|n| format!("H{at} {n}")).collect();
            let pair = format!("ALTA H{at} 1..16\nBAJA {}\n", names.join(","));
            hog.send(pair.repeat(SHARES * COMMAND_BUDGET / 2));
        }
        good.send("RESERVAR Habitación 1\nESTADO\n");
    });
    assert_eq!(good.line(), "OK RESERVADO #1 Habitación 1");
    let head = good.line();
    let lines = good.list_after(&head);
    let events = lines.iter().find_map(|line| line.strip_prefix("last_event=")).unwrap();
    let events: usize = events.parse().unwrap();
    let share = 16 * COMMAND_BUDGET;
    // At most one share of each hog ran before the request, and one was in progress.
    assert!(events <= (HOGS + 2) * share, "{events} of {}", HOGS * SHARES * share);
    for hog in &mut hogs {
        (0..SHARES * COMMAND_BUDGET).for_each(|_| assert!(hog.line().starts_with("OK ")));
    }
}

/// 10,000 waiters that had sent further lines once kept 100 KB each.
#[test]
fn lines_behind_a_wait_stay_in_the_socket() {
    const WAITERS: usize = 200;
    let server = Server::in_memory(&[]);
    let mut owner = server.connect();
    assert_eq!(owner.say("RESERVAR Habitación 1"), "OK RESERVADO #1 Habitación 1");
    let before = anonymous_bytes(&server);
    let mut waiters: Vec<_> = (0..WAITERS).map(|_| server.connect()).collect();
    for (at, waiter) in waiters.iter_mut().enumerate() {
        let place = waiter.say("RESERVAR Habitación 1 espera=1h");
        assert_eq!(place, format!("* COLA {} Habitación 1", at + 1));
        waiter.send("SOY ana\n".repeat(5_000));
    }
    server.wait_state("S");
    let each = anonymous_bytes(&server).saturating_sub(before) / WAITERS;
    println!("{each} bytes for each waiter");
    assert!(each < 24 << 10, "{each} bytes for each waiter");
    // A half-close is noticed nevertheless.
    let last = waiters.last_mut().unwrap();
    last.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(last.line(), format!("* COLA {WAITERS} Habitación 1"));
    assert_eq!(owner.say("CANCELAR #1"), "OK CANCELADO #1 Habitación 1");
    assert_eq!(waiters[0].line(), "OK RESERVADO #2 Habitación 1");
    (0..5_000).for_each(|_| assert_eq!(waiters[0].line(), "OK ana"));
}
