//! The telnet filter (RFC 854): removes telnet sequences from the input, and declines all options.

use super::buffers::{Buffers, Input};

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const EL: u8 = 248;
const EC: u8 = 247;
const IP: u8 = 244;
const SE: u8 = 240;

/// The filter of one connection.
#[derive(Debug)]
pub(super) struct Telnet {
    state: State,
    /// The position in the input at which the last Interrupt Process arrived (Ctrl-C in telnet).
    interrupted_at: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Data,
    /// After IAC.
    Command,
    /// After IAC and this WILL, WONT, DO or DONT.
    Option(u8),
    /// In a subnegotiation.
    Sub,
    /// In a subnegotiation, after IAC.
    SubCommand,
}

impl Telnet {
    pub fn new() -> Telnet {
        Telnet { state: State::Data, interrupted_at: None }
    }

    /// Appends received bytes to the input, without telnet sequences, and the answers to these to
    /// the output.
    pub fn receive(&mut self, mut bytes: &[u8], buffers: &mut Buffers) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.state == State::Data {
                let plain = memchr::memchr(IAC, bytes).unwrap_or(bytes.len());
                buffers.input.extend(&bytes[..plain]);
                bytes = &bytes[plain..];
                if !bytes.is_empty() {
                    self.state = State::Command;
                    bytes = &bytes[1..];
                }
            } else {
                self.state = self.step(*first, buffers);
                bytes = rest;
            }
        }
    }

    /// Processes one byte of a sequence and returns the next state.
    ///
    /// Every offer and demand is declined, also DO TIMING-MARK: a telnet client discards output
    /// until it gets the answer. Refusals are not answered, because that could lead to an endless
    /// exchange.
    fn step(&mut self, byte: u8, buffers: &mut Buffers) -> State {
        match (self.state, byte) {
            (State::Command, WILL | WONT | DO | DONT) => State::Option(byte),
            (State::Command, SB) => State::Sub,
            (State::Command, byte) => {
                self.command(byte, &mut buffers.input);
                State::Data
            }
            (State::Option(DO), option) => {
                buffers.output.bytes().extend_from_slice(&[IAC, WONT, option]);
                State::Data
            }
            (State::Option(WILL), option) => {
                buffers.output.bytes().extend_from_slice(&[IAC, DONT, option]);
                State::Data
            }
            (State::Option(_), _) => State::Data,
            (State::Sub, IAC) => State::SubCommand,
            (State::SubCommand, SE) => State::Data,
            (State::Sub | State::SubCommand, _) => State::Sub,
            (State::Data, _) => unreachable!("`receive` copies data itself"),
        }
    }

    fn command(&mut self, byte: u8, input: &mut Input) {
        match byte {
            IAC => input.push(IAC),
            // The input is bounded far below 4 GiB; see `INPUT_HIGH_BYTES`.
            IP => self.interrupted_at = Some(input.end() as u32),
            EC => input.erase_character(),
            EL => input.erase_line(),
            _ => {}
        }
    }

    /// Returns whether an interrupt has arrived since the last call, after the bytes before
    /// `position`.
    pub fn take_interrupt(&mut self, position: usize) -> bool {
        self.interrupted_at.take().is_some_and(|at| at as usize >= position)
    }

    /// Records that the whole input was dropped, of which the bytes before `position` were taken.
    pub fn input_dropped(&mut self, position: usize) {
        self.interrupted_at = self.interrupted_at.filter(|at| *at as usize >= position).map(|_| 0);
    }

    /// Records that the bytes before `position` were removed from the input.
    pub fn input_compacted(&mut self, position: usize) {
        self.interrupted_at = self.interrupted_at.and_then(|at| at.checked_sub(position as u32));
    }
}
