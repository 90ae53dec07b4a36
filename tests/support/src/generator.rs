//! Random commands that often mean something, and the ways to write them.

use super::Rng;
use super::reference::{self, Command, Item, Lang, Model, Request, Start, Term};
use reservad::time::{Round, Time, Zone};

pub const ROOMS: [&str; 6] = ["Sala 1", "Sala 2", "Árbol", "Sala 11", "GPU 1", "GPU 2"];
const PATTERNS: [&str; 8] = ["*", "*", "*", "Sala *", "Sala *", "*1", "*L*", "á*"];
pub const HOLDERS: [&str; 3] = ["ana", "luis", "Zoë"];

/// What the dice look at.
#[derive(Clone, Copy)]
struct Of<'a> {
    model: &'a Model,
    now: i64,
}

/// The dice, and what they have to know to be to the point.
pub struct Generator {
    pub rng: Rng,
    pub zone: Zone,
    /// Many wait for long.
    pub crowd: bool,
    /// Requests with a `clave=`, to be said again.
    pub keyed: Vec<Request>,
}

impl Generator {
    /// What somebody might say now.
    pub fn draw(&mut self, model: &Model, now: i64) -> Command {
        let of = Of { model, now };
        if !self.keyed.is_empty() && self.rng.one_in(12) {
            let mut request = self.keyed[self.rng.below(self.keyed.len())].clone();
            if self.rng.one_in(6) {
                request.note = Some("otra".to_owned());
            }
            let count = request.wants.len();
            request.wants.rotate_left(self.rng.below(count));
            return Command::Reserve(request);
        }
        if self.crowd && self.rng.one_in(2) {
            let wait_ms = Some(7_200_000);
            return Command::Reserve(Request { wait_ms, ..self.request(of) });
        }
        match self.rng.below(100) {
            0..45 => Command::Reserve(self.request(of)),
            45..61 => Command::Cancel(self.items(of)),
            61..70 => {
                let kept_alive = of.model.kept_alive();
                if !kept_alive.is_empty() && self.rng.one_in(2) {
                    let (number, ms) = kept_alive[self.rng.below(kept_alive.len())];
                    let again = Term::KeepAlive(ms);
                    let other = self.keep_alive();
                    let term = if self.rng.one_in(3) { other } else { again };
                    return Command::Renew(number, term);
                }
                let term = match self.rng.below(8) {
                    0 => self.keep_alive(),
                    1..4 => Term::For(self.length()),
                    _ => Term::Until(self.instant(of)),
                };
                Command::Renew(self.number(of), term)
            }
            70..77 => Command::When(self.wants(of), self.start(of), self.length_or_nights()),
            77..80 => {
                let term = match self.rng.below(4) {
                    0 => Term::Open,
                    1 => Term::Until(self.instant(of)),
                    _ => self.length_or_nights(),
                };
                Command::List(self.wanted(of), self.start(of), term)
            }
            80..83 => {
                let holder = self.rng.one_in(3).then(|| self.rng.pick(&HOLDERS).to_owned());
                let until = self.rng.one_in(3).then(|| self.instant(of));
                Command::Bookings { wanted: self.wanted(of), holder, from: self.start(of), until }
            }
            83..86 => {
                let name = self.rng.one_in(2).then(|| self.name(of));
                Command::Verify(self.number(of), name)
            }
            86..90 => Command::IAm(self.rng.pick(&HOLDERS).to_owned()),
            90..93 => Command::Add(self.new_names(of)),
            93..95 => Command::Remove(self.names(of)),
            95..98 => {
                let last = of.model.last_event() as usize;
                let after = self.rng.one_in(2).then(|| self.rng.below(last + 3) as u64);
                Command::Watch(self.wanted(of), after)
            }
            _ => Command::Quit,
        }
    }

    fn request(&mut self, of: Of) -> Request {
        let term = match self.rng.below(11) {
            0 | 1 => Term::Open,
            2 | 3 => Term::Quit,
            10 => self.keep_alive(),
            4 | 5 => Term::Until(self.instant(of)),
            _ => self.length_or_nights(),
        };
        let wait_ms = self.rng.one_in(2) || self.rng.one_in(2);
        let wait_ms =
            wait_ms.then(|| self.rng.pick(&[2_000, 60_000, 7_200_000, 7_200_000, 604_800_000]));
        let key = self.rng.one_in(8).then(|| format!("k{}", self.rng.below(4)));
        let note = self
            .rng
            .one_in(6)
            .then(|| self.rng.pick(&["dos adultos", "dice \"sí\" \\ no", "ñandú"]).to_owned());
        Request { wants: self.wants(of), start: self.start(of), term, wait_ms, key, note }
    }

    fn length(&mut self) -> i64 {
        self.rng.pick(&[1_000, 2_000, 5_000, 60_000, 3_600_000, 5_400_000, 86_400_000])
    }

    fn keep_alive(&mut self) -> Term {
        Term::KeepAlive(self.rng.pick(&[10_000, 10_000, 60_000, 3_600_000]))
    }

    fn length_or_nights(&mut self) -> Term {
        match self.rng.one_in(5) {
            true => Term::Nights(1 + self.rng.below(3) as u32),
            false => Term::For(self.length()),
        }
    }

    fn start(&mut self, of: Of) -> Start {
        match self.rng.below(10) {
            0 => Start::Now,
            1 | 2 => Start::At(self.instant(of)),
            _ => Start::Unsaid,
        }
    }

    /// A whole second not far from now.
    fn instant(&mut self, of: Of) -> i64 {
        let offsets = [-5, 0, 1, 2, 5, 6, 60, 61, 3_600, 5_400, 86_400, 172_800];
        of.now.div_euclid(1000) * 1000 + 1000 * self.rng.pick(&offsets)
    }

    fn number(&mut self, of: Of) -> u64 {
        let live = of.model.live_numbers();
        match live.is_empty() || self.rng.one_in(6) {
            true => self.rng.below(of.model.last_number() as usize + 2) as u64,
            false => live[self.rng.below(live.len())],
        }
    }

    fn name(&mut self, of: Of) -> String {
        let rooms = of.model.rooms();
        match rooms.is_empty() || self.rng.one_in(30) {
            true => self.rng.pick(&ROOMS).to_owned(),
            false => rooms[self.rng.below(rooms.len())].clone(),
        }
    }

    fn booked_name(&mut self, of: Of) -> String {
        let booked = of.model.booked_rooms();
        match booked.is_empty() || self.rng.one_in(6) {
            true => self.name(of),
            false => booked[self.rng.below(booked.len())].clone(),
        }
    }

    fn names(&mut self, of: Of) -> Vec<String> {
        (0..self.rng.pick(&[1, 1, 2])).map(|_| self.name(of)).collect()
    }

    fn new_names(&mut self, of: Of) -> Vec<String> {
        let absent = |room: &&str| !of.model.rooms().iter().any(|other| other == room);
        let absent: Vec<&str> = ROOMS.into_iter().filter(absent).collect();
        match absent.is_empty() || self.rng.one_in(12) {
            true => (0..2).map(|_| self.rng.pick(&ROOMS).to_owned()).collect(),
            false => vec![absent[self.rng.below(absent.len())].to_owned()],
        }
    }

    fn wants(&mut self, of: Of) -> Vec<String> {
        let count = self.rng.pick(&[1, 1, 1, 1, 1, 2, 2, 3]).min(of.model.rooms().len() + 1);
        let mut wants: Vec<String> = Vec::new();
        while wants.len() < count {
            let want = match self.rng.one_in(5) {
                true => self.rng.pick(&PATTERNS).to_owned(),
                false => self.name(of),
            };
            // The same name twice is an error, and enough of it is too much.
            if !wants.contains(&want) || want.contains('*') || self.rng.one_in(8) {
                wants.push(want);
            }
        }
        wants
    }

    fn wanted(&mut self, of: Of) -> Option<String> {
        match self.rng.below(3) {
            0 => None,
            1 => Some(self.rng.pick(&PATTERNS).to_owned()),
            _ => Some(self.name(of)),
        }
    }

    fn items(&mut self, of: Of) -> Vec<Item> {
        let one = |generator: &mut Generator| match generator.rng.one_in(2) {
            true => Item::Number(generator.number(of)),
            false => Item::Name(generator.booked_name(of)),
        };
        (0..self.rng.pick(&[1, 1, 1, 2])).map(|_| one(self)).collect()
    }

    /// The line of a command, in one of the ways to write it.
    pub fn write(&mut self, command: &Command, lang: Lang) -> String {
        let (verb, targets, mut options) = match command {
            Command::Reserve(request) => {
                let mut options = self.write_span(request.start, request.term);
                if let Some(ms) = request.wait_ms {
                    options.push(format!("{}={}s", self.either("espera", "wait"), ms / 1000));
                }
                if let Some(key) = &request.key {
                    options.push(format!("{}={key}", self.either("clave", "key")));
                }
                if let Some(note) = &request.note {
                    let note = note.replace('\\', "\\\\").replace('"', "\\\"");
                    options.push(format!("{}=\"{note}\"", self.either("nota", "note")));
                }
                (("RESERVAR", "RESERVE"), self.write_wants(&request.wants), options)
            }
            Command::Cancel(items) => {
                let items = items.iter().map(|item| match item {
                    Item::Number(number) => format!("#{number}"),
                    Item::Name(name) => name.clone(),
                });
                let items: Vec<String> = items.collect();
                (("CANCELAR", "CANCEL"), self.write_wants(&items), Vec::new())
            }
            Command::Renew(number, term) => {
                let options = self.write_span(Start::Unsaid, *term);
                (("RENOVAR", "RENEW"), format!("#{number}"), options)
            }
            Command::When(wants, start, term) => {
                (("CUANDO", "WHEN"), self.write_wants(wants), self.write_span(*start, *term))
            }
            Command::List(wanted, start, term) => {
                let options = self.write_span(*start, *term);
                (("LISTAR", "LIST"), wanted.clone().unwrap_or_default(), options)
            }
            Command::Bookings { wanted, holder, from, until } => {
                let term = until.map_or(Term::Open, Term::Until);
                let mut options = self.write_span(*from, term);
                if let Some(holder) = holder {
                    options.push(format!("{}={holder}", self.either("titular", "holder")));
                }
                (("RESERVAS", "BOOKINGS"), wanted.clone().unwrap_or_default(), options)
            }
            Command::Verify(number, name) => {
                let name = name.as_deref().unwrap_or_default();
                (("VERIFICAR", "VERIFY"), format!("#{number} {name}"), Vec::new())
            }
            Command::IAm(name) => (("SOY", "IAM"), name.clone(), Vec::new()),
            Command::Add(names) => (("ALTA", "ADD"), names.join(", "), Vec::new()),
            Command::Remove(names) => (("BAJA", "REMOVE"), self.write_wants(names), Vec::new()),
            Command::Watch(wanted, after) => {
                let after = after.map(|after| format!("{}={after}", self.either("tras", "after")));
                let wanted = wanted.clone().unwrap_or_default();
                (("OBSERVAR", "WATCH"), wanted, after.into_iter().collect())
            }
            Command::Quit => (("SALIR", "QUIT"), String::new(), Vec::new()),
        };
        self.rng.shuffle(&mut options);
        format!("{} {targets} {}", lang.pick(verb.0, verb.1), options.join(" "))
    }

    fn either(&mut self, es: &'static str, en: &'static str) -> &'static str {
        self.rng.pick(&[es, en])
    }

    /// Names in one of their spellings, patterns as they are.
    fn write_wants(&mut self, wants: &[String]) -> String {
        let write = |want: &String| match want.contains('*') {
            true => want.clone(),
            false => match self.rng.below(4) {
                0 => want.to_uppercase(),
                1 => reference::fold(want),
                _ => want.clone(),
            },
        };
        wants.iter().map(write).collect::<Vec<_>>().join(", ")
    }

    fn write_span(&mut self, start: Start, term: Term) -> Vec<String> {
        let text = |ms| self.zone.text(Time::from_ms(ms), Round::Down);
        let from = match start {
            Start::Unsaid => None,
            Start::Now => Some("ahora".to_owned()),
            Start::At(from) => Some(text(from)),
        };
        let quit = ("hasta", "until", "salir".to_owned());
        let length = |ms| ("por", "for", format!("{}s", ms / 1000));
        let end = match term {
            Term::Open => vec![],
            Term::Quit => vec![quit],
            Term::KeepAlive(ms) => vec![quit, length(ms)],
            Term::Until(until) => vec![("hasta", "until", text(until))],
            Term::For(ms) => vec![length(ms)],
            Term::Nights(nights) => vec![("noches", "nights", nights.to_string())],
        };
        let from = from.map(|from| format!("{}={from}", self.either("desde", "from")));
        let mut options: Vec<String> = from.into_iter().collect();
        for (es, en, value) in end {
            options.push(format!("{}={value}", self.either(es, en)));
        }
        options
    }
}
