//! The framing of the protocol: bytes, lines, telnet, half-close, pipelining and foreign protocols.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use support::dialog::matches;
use support::{Client, Server, until};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const TIMING_MARK: u8 = 6;

/// Sends bytes, half-closes the connection, and returns everything that the server sends.
fn answer(server: &Server, bytes: &[u8]) -> Vec<u8> {
    answer_in_pieces(server, &[bytes])
}

/// Does the same with a write per piece.
fn answer_in_pieces(server: &Server, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = server.connect();
    for piece in pieces {
        client.send(piece);
    }
    client.stream().shutdown(Shutdown::Write).unwrap();
    read_all(&mut client)
}

fn read_all(client: &mut Client) -> Vec<u8> {
    let mut all = Vec::new();
    client.stream().read_to_end(&mut all).unwrap();
    all
}

/// Matches the output for some input with a pattern as in [`support::dialog`].
fn check(server: &Server, bytes: &[u8], want: &str) {
    let got = answer(server, bytes);
    let shown = String::from_utf8_lossy(&got);
    let sent = String::from_utf8_lossy(bytes);
    assert!(matches(want, &shown), "{sent:?}\nis answered {shown:?}\nnot      {want:?}");
}

fn bookings(server: &Server) -> usize {
    server.connect().list("RESERVAS").len()
}

/// Input and the complete output.
#[test]
fn line_endings() {
    let server = Server::in_memory(&[]);
    let long = |count: usize| format!("LISTAR {}", "x".repeat(count - 7));
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"LISTAR Sala *\n", "OK 0 DISPONIBLES\n"),
        // A reply has the line ending of its request, also within a list.
        (b"AYUDA SALIR\r\n", "OK 1 AYUDA\r\nSALIR{*}\r\n"),
        (b"RESERVAS *1\r\n", "OK 0 RESERVAS\r\n"),
        (b"LISTAR *1\r\n", "OK 1 DISPONIBLES\r\nHabitaci\u{f3}n 1\r\n"),
        (
            b"LISTAR *1\r\nLIST *1\nXYZ\r\nXYZ\nSALIR\r\n",
            "OK 1 DISPONIBLES\r\nHabitación 1\r\nOK 1 AVAILABLE\nHabitación 1\nERR 400 {*}\r\nERR 400 {*}\nOK ADIÓS\r\n",
        ),
        // Blank lines are ignored.
        (b"\n\r\n \n\t\r\n  \t \n\n", ""),
        (b"\nLISTAR Sala *\n\r\n", "OK 0 DISPONIBLES\n"),
        // Only one CR belongs to the ending.
        (b"LISTAR Sala *\r\r\nLIST Sala *\n", "ERR 400 {*}\r\nOK 0 AVAILABLE\n"),
        (b"LISTAR\rSala *\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"\r\r\nLIST Sala *\n", "ERR 400 {*}\r\nOK 0 AVAILABLE\n"),
        // A tab counts as a space. All other control characters are errors.
        (b"\tLISTAR\tSala\t*\t\n", "OK 0 DISPONIBLES\n"),
        (b"LISTAR\x00\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"\x00\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LIS\x07TAR\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \x1b[A\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \x7f\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \x08\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \x0b\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \x04\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        ("LISTAR \u{85}\nLIST Sala *\n".as_bytes(), "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"RESERVAR Sala nota=\"a\x01b\"\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        // Invalid UTF-8: a stray byte, an incomplete sequence, an overlong one, a surrogate, a code
        // point that is too large, Latin-1.
        (b"LISTAR \x80\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \xc3\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \xc0\xaf\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \xed\xa0\x80\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LISTAR \xf4\x90\x80\x80\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"RESERVAR Habitaci\xf3n 1\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"\xfe\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        // A last line without its end is not run.
        (b"RESERVAR Habitaci\xc3\xb3n 1", "ERR 400 {*}\n"),
        (b"LIST Sala *\r\nRESERVAR Habitaci\xc3\xb3n 1", "OK 0 AVAILABLE\r\nERR 400 {*}\r\n"),
        (b"SALIR", "ERR 400 {*}\n"),
        (b"LIST Sala *\n  \t", "OK 0 AVAILABLE\n"),
        // Lines after SALIR are discarded.
        (b"SALIR\nRESERVAR *\nXYZ\n", "OK ADI\u{d3}S\n"),
        (b"QUIT\r\nRESERVAR *\r\nXYZ", "OK BYE\r\n"),
        (b"SALIR x\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        // Ctrl-D at the start of a line ends the session at once, without an LF.
        (b"\x04", "OK ADI\u{d3}S\n"),
        (b"\x04\nRESERVAR *\n", "OK ADI\u{d3}S\n"),
        (b"LIST Sala *\r\n\x04RESERVAR *\r\n", "OK 0 AVAILABLE\r\nOK BYE\r\n"),
        (b"\n\n\x04", "OK ADI\u{d3}S\n"),
    ];
    for (bytes, want) in cases {
        check(&server, bytes, want);
    }
    let next = "LIST Sala *\n";
    for (bytes, want) in [
        // A line may have 4096 bytes, with any line ending.
        (format!("{}\n{next}", long(4096)), "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (format!("{}\r\n{next}", long(4096)), "ERR 400 {*}\r\nOK 0 AVAILABLE\n"),
        (format!("LIST Sala *{}\n{next}", " ".repeat(4085)), "OK 0 {*}\nOK 0 AVAILABLE\n"),
        (format!("LIST Sala *{}\r\n{next}", " ".repeat(4085)), "OK 0 {*}\r\nOK 0 AVAILABLE\n"),
        (format!("LIST Sala *{}\n{next}", " ".repeat(4086)), "ERR 413 {*}\nOK 0 AVAILABLE\n"),
        (format!("LIST Sala *{}\r\n{next}", " ".repeat(4086)), "ERR 413 {*}\r\nOK 0 AVAILABLE\n"),
        (format!("{}\n{next}", " ".repeat(4096)), "OK 0 AVAILABLE\n"),
        (format!("{}\n{next}", "x".repeat(100_000)), "ERR 413 {*}\nOK 0 AVAILABLE\n"),
        (format!("{}\r\n{next}", "x".repeat(1_000_000)), "ERR 413 {*}\r\nOK 0 AVAILABLE\n"),
    ] {
        let head: String = bytes.chars().take(20).collect();
        let got = String::from_utf8(answer(&server, bytes.as_bytes())).unwrap();
        assert!(matches(want, &got), "{head:?}… is answered {got:?}, not {want:?}");
    }
    assert_eq!(bookings(&server), 0);
    server.stop();
}

/// Lines of 4096 and 4097 bytes, split into two writes at all relevant offsets, and into many
/// writes.
#[test]
fn long_lines_in_arbitrary_pieces() {
    let server = Server::in_memory(&[]);
    for (spaces, ok) in [(4090, true), (4091, false)] {
        for end in ["\n", "\r\n"] {
            let line = format!("LISTAR{}{end}", " ".repeat(spaces));
            let bytes = line.as_bytes();
            for at in [1, 4094, 4095, 4096, 4097, bytes.len() - 1] {
                let mut client = server.connect();
                client.send(&bytes[..at]);
                // When another client has been answered, the server has probably read the first
                // part.
                assert_eq!(server.connect().list("LISTAR").len(), 3);
                client.send(&bytes[at..]);
                let got = client.raw_line();
                let want = if ok { "OK 3 DISPONIBLES" } else { "ERR 413 {*}" };
                assert!(matches(&format!("{want}{end}"), &got), "{spaces} {at}: {got:?}");
                if ok {
                    (0..3).for_each(|_| assert!(client.raw_line().ends_with(end)));
                }
                client.send("LIST Sala *\n");
                assert_eq!(client.line(), "OK 0 AVAILABLE");
                assert_eq!(client.finish(), "");
            }
            let pieces: Vec<_> = bytes.chunks(7).collect();
            let got = String::from_utf8(answer_in_pieces(&server, &pieces)).unwrap();
            assert_eq!(got.starts_with("OK 3 "), ok, "{spaces}: {got}");
            assert_eq!(got.matches("ERR 413 ").count(), usize::from(!ok), "{got}");
        }
    }
    server.stop();
}

#[test]
fn line_without_end_is_refused_once_and_closes() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.send("RESERVAR Habitación 1\n");
    assert_eq!(client.line(), "OK RESERVADO #1 Habitación 1");
    // The server may close the connection before everything is sent.
    let endless = vec![b'x'; (1 << 20) + (64 << 10)];
    match client.stream().write_all(&endless) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(error) => panic!("{error}"),
    }
    let rest = client.rest();
    assert!(matches("ERR 413 {*}\n", &rest), "{rest:?}");
    assert_eq!(rest.lines().count(), 1, "{rest:?}");
    // Also if an LF follows in the same write.
    let mut client = server.connect();
    let mut bytes = vec![b'x'; (1 << 20) + 1];
    bytes.extend_from_slice(b"\nRESERVAR *\n");
    let _ = client.stream().write_all(&bytes);
    let rest = client.rest();
    assert!(matches("ERR 413 {*}\n", &rest), "{rest:?}");
    assert_eq!(rest.lines().count(), 1, "{rest:?}");
    // A line of exactly 1 MiB is discarded and the connection is kept.
    let mut client = server.connect();
    let mut bytes = vec![b'x'; 1 << 20];
    bytes.extend_from_slice(b"\r\nLIST Sala *\n");
    client.send(&bytes);
    let got = client.raw_line();
    assert!(matches("ERR 413 {*}\r\n", &got), "{got:?}");
    assert_eq!(client.line(), "OK 0 AVAILABLE");
    assert_eq!(bookings(&server), 1);
    server.stop();
}

#[test]
fn server_sends_no_banner_and_no_prompt() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    // A later client has been served, so that a banner would have been sent.
    assert_eq!(server.connect().list("LISTAR").len(), 3);
    client.stream().set_nonblocking(true).unwrap();
    let error = client.stream().read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.stream().set_nonblocking(false).unwrap();
    client.send("LISTAR\nSALIR\n");
    let want = "OK 3 DISPONIBLES\nHabitación 1\nHabitación 2\nHabitación 3\nOK ADIÓS\n";
    assert_eq!(client.rest(), want);
    server.stop();
}

/// Telnet sequences, and the replies to them and to a LIST after them.
#[test]
fn telnet_sequences_at_every_split() {
    let server = Server::in_memory(&[]);
    let mut cases: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut row = |bytes: &[&[u8]], want: &[&[u8]]| cases.push((bytes.concat(), want.concat()));
    let (list, nothing): (&[u8], &[u8]) = (b"LIST Sala *\r\n", b"OK 0 AVAILABLE\r\n");
    row(&[&[IAC, DO, TIMING_MARK], list], &[&[IAC, WONT, TIMING_MARK], nothing]);
    row(&[&[IAC, DO, 1], list], &[&[IAC, WONT, 1], nothing]);
    row(&[&[IAC, DO, IAC], list], &[&[IAC, WONT, IAC], nothing]);
    row(&[&[IAC, WILL, 31], list], &[&[IAC, DONT, 31], nothing]);
    row(&[&[IAC, WONT, 1, IAC, DONT, 1], list], &[nothing]);
    // A subnegotiation that contains an escaped IAC and an SE as data.
    row(&[&[IAC, SB, 31, 0, 80, 0, 24, IAC, SE], list], &[nothing]);
    row(&[&[IAC, SB, 24, 0, b'\n', IAC, IAC, SE, b'x', IAC, SE], list], &[nothing]);
    // Commands without an option.
    row(&[&[IAC, 241], b"LIST", &[IAC, 249], b" Sala *\r\n"], &[nothing]);
    // The first negotiation of a telnet client, also within a word and before the LF.
    row(
        &[&[IAC, DO, 3, IAC, WILL, 24, IAC, WILL, 31], list],
        &[&[IAC, WONT, 3, IAC, DONT, 24, IAC, DONT, 31], nothing],
    );
    row(&[b"LI", &[IAC, DO, 5], b"ST Sala *\r\n"], &[&[IAC, WONT, 5], nothing]);
    row(&[b"LIST Sala *\r", &[IAC, WONT, 5], b"\n"], &[nothing]);
    // Ctrl-C of a telnet client: IAC IP, IAC DO TIMING-MARK.
    row(&[&[IAC, 244, IAC, DO, TIMING_MARK], list], &[&[IAC, WONT, TIMING_MARK], nothing]);
    row(&[&[IAC, 241, 4]], &[b"OK ADI\xc3\x93S\n"]);
    for (bytes, want) in &cases {
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        for at in 0..=bytes.len() {
            // The first part must be read before the second one is sent.
            let mut client = server.connect();
            client.send(&bytes[..at]);
            if at % 4 == 1 {
                assert_eq!(server.connect().list("LISTAR").len(), 3);
            }
            client.send(&bytes[at..]);
            client.stream().shutdown(Shutdown::Write).unwrap();
            let got = read_all(&mut client);
            assert_eq!(show(&got), show(want), "{} at {at}", show(bytes));
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        let got = answer_in_pieces(&server, &single);
        assert_eq!(show(&got), show(want), "{} in single bytes", show(bytes));
    }
    // IAC IAC stands for the byte 255, which is not UTF-8.
    check(&server, b"LIST \xff\xff\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n");
    // The end of the stream within a sequence ends the connection without an error.
    check(&server, b"LIST Sala *\n\xff", "OK 0 AVAILABLE\n");
    check(&server, b"LIST Sala *\n\xff\xfa\x18", "OK 0 AVAILABLE\n");
    server.stop();
}

/// EC erases the last character of the open line, and EL the whole open line. Neither affects a
/// line that has ended.
#[test]
fn telnet_edits_the_open_line() {
    const EC: u8 = 247;
    const EL: u8 = 248;
    let server = Server::in_memory(&[]);
    let nothing = b"OK 0 AVAILABLE\n";
    let cases: [(&[&[u8]], &[u8]); 6] = [
        (&[b"LIST Salaz", &[IAC, EC], b" *\n"], nothing),
        // A character of several bytes.
        (&["LIST Sala \u{F1}".as_bytes(), &[IAC, EC], b"*\n"], nothing),
        (&[b"x", &[IAC, EC, IAC, EC, IAC, EC], b"LIST Sala *\n"], nothing),
        (&[b"RESERVE Habitaci", &[IAC, EL], b"LIST Sala *\n"], nothing),
        (&[b"LIST Sala *\nx", &[IAC, EL]], nothing),
        (&[b"LIST Sala *\n", &[IAC, EC, IAC, EL]], nothing),
    ];
    for (pieces, want) in cases {
        let bytes = pieces.concat();
        for at in 0..=bytes.len() {
            let got = answer_in_pieces(&server, &[&bytes[..at], &bytes[at..]]);
            assert_eq!(got, want, "{} at {at}", bytes.escape_ascii());
        }
    }
    server.stop();
}

/// Regression test: telnet's Synch sends its DM as urgent data. A read stops at the urgent mark,
/// after which no event came for the remaining bytes, and the byte after the mark was taken for the
/// DM.
#[test]
fn urgent_data_neither_stalls_a_connection_nor_loses_a_byte() {
    const DM: u8 = 242;
    let server = Server::in_memory(&[]);
    for urgent in [&[DM][..], b" "] {
        let mut client = server.connect();
        assert_eq!(client.list("LIST Sala *").len(), 0);
        let before: &[u8] = if urgent == [DM] { &[IAC] } else { b"" };
        // All data arrives before the server reads.
        server.while_stopped(|| {
            client.send(before);
            socket2::SockRef::from(&*client.stream()).send_out_of_band(urgent).unwrap();
            client.send(b"LIST Sala *\n");
        });
        assert_eq!(client.line(), "OK 0 AVAILABLE");
    }
    server.stop();
}

/// Some editors begin a text file with a byte order mark.
#[test]
fn byte_order_mark_at_the_start_is_skipped() {
    let server = Server::in_memory(&[]);
    check(&server, "\u{FEFF}LIST Sala *\n".as_bytes(), "OK 0 AVAILABLE\n");
    check(&server, "LIST Sala *\n\u{FEFF}LIST\n".as_bytes(), "OK 0 AVAILABLE\nERR 400 {*}\n");
    server.stop();
}

/// Telnet sequences do not count for the length of a line.
#[test]
fn length_of_a_line_is_measured_after_telnet() {
    let server = Server::in_memory(&[]);
    let mut line = format!("LIST Sala *{}", " ".repeat(4096 - 11)).into_bytes();
    for at in [4096, 2000, 100, 0] {
        line.splice(at..at, [IAC, WONT, 1]);
    }
    line.push(b'\n');
    check(&server, &line, "OK 0 AVAILABLE\n");
    line.insert(line.len() - 1, b' ');
    check(&server, &line, "ERR 413 {*}\n");
    server.stop();
}

/// DO TIMING-MARK is answered at once, not with the next line.
#[test]
fn timing_mark_is_answered_before_any_line() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    client.send([b'L', IAC, 244, IAC, DO, TIMING_MARK]);
    let mut answer = [0; 3];
    client.stream().read_exact(&mut answer).unwrap();
    assert_eq!(answer, [IAC, WONT, TIMING_MARK]);
    client.send("IST Sala *\n");
    assert_eq!(client.line(), "OK 0 AVAILABLE");
    // Ctrl-D does not need an LF either.
    client.send([4]);
    assert_eq!(client.rest(), "OK BYE\n");
    server.stop();
}

#[test]
fn lines_before_a_half_close_are_run_and_answered() {
    let server = Server::in_memory(&[]);
    let mut lines = String::new();
    let mut want = String::new();
    for n in 1..=500 {
        lines += "RESERVAR Habitación 1\nCANCELAR Habitación 1\n";
        want += &format!("OK RESERVADO #{n} Habitación 1\nOK CANCELADO #{n} Habitación 1\n");
    }
    lines += "RESERVAR Habitación 2\nCANCELAR #501";
    want += "OK RESERVADO #501 Habitación 2\nERR 400 {*}\n";
    let got = String::from_utf8(answer(&server, lines.as_bytes())).unwrap();
    assert!(matches(&want, &got), "{}", &got[got.len().saturating_sub(500)..]);
    assert_eq!(bookings(&server), 1);
    server.stop();
}

#[test]
fn ten_thousand_pipelined_lines_are_answered_in_order() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    let mut lines = String::new();
    for n in 0..10_000 {
        // Each line has a different reply.
        lines += &format!("VERIFICAR #{}{}", n + 1, if n % 3 == 0 { "\r\n" } else { "\n" });
    }
    lines += "SALIR\n";
    let mut writer = client.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(lines.as_bytes()).unwrap());
    for n in 0..10_000 {
        let end = if n % 3 == 0 { "\r\n" } else { "\n" };
        let got = client.raw_line();
        let want = format!("ERR 404 #{} {{*}}{end}", n + 1);
        assert!(matches(&want, &got) && got.ends_with("\r\n") == (n % 3 == 0), "{n}: {got:?}");
    }
    assert_eq!(client.rest(), "OK ADIÓS\n");
    writing.join().unwrap();
    server.stop();
}

/// Lists of any length between other replies stay complete and in order.
#[test]
fn long_lists_within_a_pipeline() {
    let server = Server::in_memory(&[]);
    let mut client = server.connect();
    assert_eq!(client.say("ALTA Placa 1..9997"), "OK ALTA 9997");
    client.send("LISTAR\nVERIFICAR #1\n".repeat(5) + "SALIR\n");
    for _ in 0..5 {
        let head = client.line();
        assert_eq!(head, "OK 10000 DISPONIBLES");
        let lines = client.list_after(&head);
        assert_eq!(lines[2..5], ["Habitación 3", "Placa 1", "Placa 2"]);
        assert_eq!(lines[9999], "Placa 9997");
        assert!(client.line().starts_with("ERR 404 "));
    }
    assert_eq!(client.rest(), "OK ADIÓS\n");
    server.stop();
}

/// Browsers, mail servers and TLS clients: the connection is closed without a reply and without any
/// effect.
#[test]
fn foreign_protocols_are_closed_without_a_reply() {
    let mut server = Server::in_memory(&[]);
    let reserve = "RESERVAR Habitación 1\r\n";
    let cases = [
        format!("GET / HTTP/1.1\r\nHost: localhost:12345\r\n\r\n{reserve}"),
        format!("POST /x?y HTTP/1.0\r\n{reserve}"),
        format!("OPTIONS * HTTP/1.1\n{reserve}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{reserve}"),
        format!("CONNECT localhost:12345 HTTP/1.1\r\n\r\n{reserve}"),
        format!("\r\nGET / HTTP/1.1\r\n{reserve}"),
        // Without a version, as in HTTP/0.9.
        format!("GET /x\r\n{reserve}"),
        format!("GET /\n{reserve}"),
        format!("POST  /x?y \r\n{reserve}"),
        format!("RESERVAR Habitación HTTP/1.1\r\n{reserve}"),
        format!("Host: localhost\r\n{reserve}"),
        format!("content-type: text/plain\r\n{reserve}"),
        format!("  \tUser-Agent:\tx\n{reserve}"),
        format!("Subject:\n{reserve}"),
        format!("RESERVAR: Habitación 1\n{reserve}"),
        format!("\u{16}\u{3}\u{1}\n{reserve}"),
        format!("\u{16}\n{reserve}"),
    ];
    for bytes in &cases {
        let mut client = server.connect();
        client.send(bytes);
        // The server closes the connection while our side is open.
        let mut got = Vec::new();
        match client.stream().read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{bytes:?} is not closed: {error}"),
        }
        assert!(got.is_empty(), "{bytes:?} is answered {:?}", String::from_utf8_lossy(&got));
    }
    // An HTTP header on a later line, after lines that are answered.
    check(&server, b"LIST Sala *\nX-Y: z\nRESERVAR *\n", "OK 0 AVAILABLE\n");
    check(&server, b"XYZ\nHost: a\nRESERVAR *\n", "ERR 400 {*}\n");
    assert_eq!(bookings(&server), 0);
    // It is logged, but not for each connection.
    server.wait_log("another protocol");
    assert_eq!(server.log_so_far().matches("another protocol").count(), 1);
    // These lines belong to the protocol.
    for (line, want) in [
        (&b"LIST Sala *\nGET / HTTP/1.1\nLIST Sala *\n"[..], "OK 0 {*}\nERR 400 {*}\nOK 0 {*}\n"),
        (b"GET / x\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"GET x\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"GET\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"LIST Sala *\nGET /x\n", "OK 0 {*}\nERR 400 {*}\n"),
        (b"CANCEL /x\nLIST Sala *\n", "ERR 404 {*}\nOK 0 AVAILABLE\n"),
        (b":\nLIST Sala *\n", "ERR 400 {*}\nOK 0 AVAILABLE\n"),
        (b"ALTA Sala: 1\nLIST Sala:*\n", "OK ALTA 1\nOK 1 AVAILABLE\nSala: 1\n"),
        (b"LIST 9*\n\x16\nLIST 9*\n", "OK 0 AVAILABLE\nERR 400 {*}\nOK 0 AVAILABLE\n"),
    ] {
        check(&server, line, want);
    }
    server.stop();
}

/// A connection that is reset does not affect other clients.
#[test]
fn reset_within_a_line_runs_nothing() {
    let server = Server::in_memory(&[]);
    for _ in 0..20 {
        let mut client = server.connect();
        client.send("LISTAR\nRESERVAR Habitación 1");
        // Closing with unread replies sends a reset.
        drop(client);
    }
    let mut client = server.connect();
    until("the connections are closed", || client.list("ESTADO").contains(&"clients=1".to_owned()));
    assert_eq!(bookings(&server), 0);
    server.stop();
}
