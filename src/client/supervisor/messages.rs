//! The messages between the supervisor and its keeper.

use std::time::Duration;

use rustix::process::Pid;

use super::channel::Message;
use super::clock::BootTime;

/// A request to the keeper.
#[derive(Debug, PartialEq, Eq)]
pub enum KeeperRequest {
    /// Start the program with these variables, as `NAME=value`. Carries its standard input.
    Start(Vec<String>),
    /// Send a signal to the process group of the program.
    Signal(i32),
    /// Kill all processes of the program at this time.
    KillAt(Option<BootTime>),
    /// Use this if the supervisor dies. Carries the connection.
    Handover(Handover),
    /// Forget the last handover, because its connection is lost.
    NoHandover,
}

/// The lines that the keeper sends on the connection after the supervisor has died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Cancels the reservation and ends the session.
    pub release: String,
    /// Renews the reservation.
    pub renew: String,
    /// The interval of renewals; `None` if the reservation is not renewed.
    pub interval: Option<Duration>,
}

impl KeeperRequest {
    pub fn encode(&self) -> Vec<String> {
        let fields = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
        match self {
            KeeperRequest::Start(variables) => {
                [&["start".to_owned()], variables.as_slice()].concat()
            }
            KeeperRequest::Signal(signal) => fields(&["signal", &signal.to_string()]),
            KeeperRequest::KillAt(at) => {
                let at = at.map(|at| at.as_millis().to_string()).unwrap_or_default();
                fields(&["kill-at", &at])
            }
            KeeperRequest::Handover(Handover { release, renew, interval }) => {
                let interval = interval.map(|time| time.as_millis().to_string());
                fields(&["handover", release, renew, &interval.unwrap_or_default()])
            }
            KeeperRequest::NoHandover => fields(&["no-handover"]),
        }
    }

    pub fn decode(message: &Message) -> Option<Self> {
        match message.keyword() {
            "start" => Some(KeeperRequest::Start(message.fields[1..].to_vec())),
            "signal" => Some(KeeperRequest::Signal(message.number(1)?)),
            "kill-at" => Some(KeeperRequest::KillAt(message.number(1).map(BootTime::from_millis))),
            "handover" => Some(KeeperRequest::Handover(Handover {
                release: message.field(1).to_owned(),
                renew: message.field(2).to_owned(),
                interval: message.number(3).map(Duration::from_millis),
            })),
            "no-handover" => Some(KeeperRequest::NoHandover),
            _ => None,
        }
    }
}

/// A report of the keeper.
#[derive(Debug, PartialEq, Eq)]
pub enum KeeperReport {
    /// The program's process exists and waits for its start.
    Ready(Pid),
    /// That process could not be created, for this reason.
    Failed(String),
    /// The program was stopped by this signal: Ctrl-Z, or the use of a terminal in the background.
    Stopped(i32),
    /// The program has ended with this exit code, or 128 plus the signal that ended it.
    Exited(u8),
    /// The program has ended, and other processes of it are left.
    SomeLeft,
    /// The program and all its other processes have ended.
    NoneLeft,
    /// The reservation was about to end, and all processes are being killed.
    Expired,
    /// This process must not be signalled, because it belongs to another user.
    NotPermitted(Pid),
}

impl KeeperReport {
    pub fn encode(&self) -> Vec<String> {
        let (keyword, value) = match self {
            KeeperReport::Ready(pid) => ("ready", pid.to_string()),
            KeeperReport::Failed(reason) => ("failed", reason.clone()),
            KeeperReport::Stopped(signal) => ("stopped", signal.to_string()),
            KeeperReport::Exited(code) => ("exited", code.to_string()),
            KeeperReport::SomeLeft => ("some-left", String::new()),
            KeeperReport::NoneLeft => ("none-left", String::new()),
            KeeperReport::Expired => ("expired", String::new()),
            KeeperReport::NotPermitted(pid) => ("not-permitted", pid.to_string()),
        };
        vec![keyword.to_owned(), value]
    }

    pub fn decode(message: &Message) -> Option<Self> {
        let pid = || Pid::from_raw(message.number(1)?);
        match message.keyword() {
            "ready" => pid().map(KeeperReport::Ready),
            "failed" => Some(KeeperReport::Failed(message.field(1).to_owned())),
            "stopped" => message.number(1).map(KeeperReport::Stopped),
            "exited" => message.number(1).map(KeeperReport::Exited),
            "some-left" => Some(KeeperReport::SomeLeft),
            "none-left" => Some(KeeperReport::NoneLeft),
            "expired" => Some(KeeperReport::Expired),
            "not-permitted" => pid().map(KeeperReport::NotPermitted),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: Vec<String>) -> Message {
        Message { fields, descriptor: None }
    }

    #[test]
    fn requests_survive_encoding() {
        let handover = |interval| {
            let (release, renew) = ("CANCEL #7\nQUIT\n".to_owned(), String::new());
            KeeperRequest::Handover(Handover { release, renew, interval })
        };
        for request in [
            KeeperRequest::Start(vec!["A=".to_owned(), "B=á b".to_owned()]),
            KeeperRequest::Signal(15),
            KeeperRequest::KillAt(None),
            KeeperRequest::KillAt(Some(BootTime::from_millis(1_234))),
            handover(None),
            handover(Some(Duration::from_secs(20))),
            KeeperRequest::NoHandover,
        ] {
            assert_eq!(KeeperRequest::decode(&message(request.encode())), Some(request));
        }
    }

    #[test]
    fn reports_survive_encoding() {
        let pid = Pid::from_raw(4711).expect("a valid number");
        for report in [
            KeeperReport::Ready(pid),
            KeeperReport::Failed("no process left".to_owned()),
            KeeperReport::Stopped(20),
            KeeperReport::Exited(255),
            KeeperReport::SomeLeft,
            KeeperReport::NoneLeft,
            KeeperReport::Expired,
            KeeperReport::NotPermitted(pid),
        ] {
            assert_eq!(KeeperReport::decode(&message(report.encode())), Some(report));
        }
        assert_eq!(KeeperReport::decode(&message(vec!["unknown".to_owned()])), None);
    }
}
