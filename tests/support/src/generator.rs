//! The generator of random commands. They often refer to existing resources and reservations, and
//! are written in random spellings.

use super::Rng;
use super::reference::{self, Command, End, Item, Lang, Model, Request, Start};
use reservad::time::{Round, Time, Zone};

pub const ROOMS: [&str; 6] = ["Sala 1", "Sala 2", "Árbol", "Sala 11", "GPU 1", "GPU 2"];
const PATTERNS: [&str; 8] = ["*", "*", "*", "Sala *", "Sala *", "*1", "*L*", "á*"];
pub const HOLDERS: [&str; 3] = ["ana", "luis", "Zoë"];

/// The state of the server for which a command is generated.
#[derive(Clone, Copy)]
struct Of<'a> {
    model: &'a Model,
    now: i64,
}

/// Generates commands.
pub struct Generator {
    pub rng: Rng,
    pub zone: Zone,
    /// Whether half of the requests wait for a long time.
    pub crowd: bool,
    /// The requests with an idempotency key so far, to be repeated.
    pub keyed: Vec<Request>,
}

impl Generator {
    /// Generates a command.
    pub fn draw(&mut self, model: &Model, now: i64) -> Command {
        let of = Of { model, now };
        if !self.keyed.is_empty() && self.rng.one_in(12) {
            return Command::Reserve(self.repeat_keyed());
        }
        if self.crowd && self.rng.one_in(2) {
            let wait_ms = Some(7_200_000);
            return Command::Reserve(Request { wait_ms, ..self.request(of) });
        }
        match self.rng.below(100) {
            0..45 => Command::Reserve(self.request(of)),
            45..61 => Command::Cancel(self.items(of)),
            61..70 => self.renewal(of),
            70..77 => Command::When(self.targets(of), self.start(of), self.length_or_nights()),
            77..80 => {
                let end = match self.rng.below(4) {
                    0 => End::Open,
                    1 => End::Until(self.instant(of)),
                    _ => self.length_or_nights(),
                };
                Command::List(self.wanted(of), self.start(of), end)
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

    /// Repeats a request with a key, sometimes with another note, which is an error.
    fn repeat_keyed(&mut self) -> Request {
        let mut request = self.keyed[self.rng.below(self.keyed.len())].clone();
        if self.rng.one_in(6) {
            request.note = Some("otra".to_owned());
        }
        let count = request.targets.len();
        request.targets.rotate_left(self.rng.below(count));
        request
    }

    fn renewal(&mut self, of: Of) -> Command {
        let kept_alive = of.model.kept_alive();
        if !kept_alive.is_empty() && self.rng.one_in(2) {
            let (number, ms) = kept_alive[self.rng.below(kept_alive.len())];
            let same = End::KeepAlive(ms);
            let other = self.keep_alive();
            let end = if self.rng.one_in(3) { other } else { same };
            return Command::Renew(number, end);
        }
        let end = match self.rng.below(8) {
            0 => self.keep_alive(),
            1..4 => End::For(self.length()),
            _ => End::Until(self.instant(of)),
        };
        Command::Renew(self.number(of), end)
    }

    fn request(&mut self, of: Of) -> Request {
        let end = match self.rng.below(11) {
            0 | 1 => End::Open,
            2 | 3 => End::Quit,
            10 => self.keep_alive(),
            4 | 5 => End::Until(self.instant(of)),
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
        Request { targets: self.targets(of), start: self.start(of), end, wait_ms, key, note }
    }

    fn length(&mut self) -> i64 {
        self.rng.pick(&[1_000, 2_000, 5_000, 60_000, 3_600_000, 5_400_000, 86_400_000])
    }

    fn keep_alive(&mut self) -> End {
        End::KeepAlive(self.rng.pick(&[10_000, 10_000, 60_000, 3_600_000]))
    }

    fn length_or_nights(&mut self) -> End {
        match self.rng.one_in(5) {
            true => End::Nights(1 + self.rng.below(3) as u32),
            false => End::For(self.length()),
        }
    }

    fn start(&mut self, of: Of) -> Start {
        match self.rng.below(10) {
            0 => Start::Now,
            1 | 2 => Start::At(self.instant(of)),
            _ => Start::Default,
        }
    }

    /// Returns a whole second not far from now.
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

    fn targets(&mut self, of: Of) -> Vec<String> {
        let count = self.rng.pick(&[1, 1, 1, 1, 1, 2, 2, 3]).min(of.model.rooms().len() + 1);
        let mut targets: Vec<String> = Vec::new();
        while targets.len() < count {
            let target = match self.rng.one_in(5) {
                true => self.rng.pick(&PATTERNS).to_owned(),
                false => self.name(of),
            };
            // The same name twice is an error, which must not be too frequent.
            if !targets.contains(&target) || target.contains('*') || self.rng.one_in(8) {
                targets.push(target);
            }
        }
        targets
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

    /// Writes the line of a command, in a random spelling.
    pub fn write(&mut self, command: &Command, lang: Lang) -> String {
        let (verb, targets, mut options) = match command {
            Command::Reserve(request) => {
                let options = self.write_request_options(request);
                (("RESERVAR", "RESERVE"), self.write_targets(&request.targets), options)
            }
            Command::Cancel(items) => {
                let items = items.iter().map(|item| match item {
                    Item::Number(number) => format!("#{number}"),
                    Item::Name(name) => name.clone(),
                });
                let items: Vec<String> = items.collect();
                (("CANCELAR", "CANCEL"), self.write_targets(&items), Vec::new())
            }
            Command::Renew(number, end) => {
                let options = self.write_interval(Start::Default, *end);
                (("RENOVAR", "RENEW"), format!("#{number}"), options)
            }
            Command::When(targets, start, end) => {
                (("CUANDO", "WHEN"), self.write_targets(targets), self.write_interval(*start, *end))
            }
            Command::List(wanted, start, end) => {
                let options = self.write_interval(*start, *end);
                (("LISTAR", "LIST"), wanted.clone().unwrap_or_default(), options)
            }
            Command::Bookings { wanted, holder, from, until } => {
                let end = until.map_or(End::Open, End::Until);
                let mut options = self.write_interval(*from, end);
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
            Command::Remove(names) => (("BAJA", "REMOVE"), self.write_targets(names), Vec::new()),
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

    fn write_request_options(&mut self, request: &Request) -> Vec<String> {
        let mut options = self.write_interval(request.start, request.end);
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
        options
    }

    fn either(&mut self, es: &'static str, en: &'static str) -> &'static str {
        self.rng.pick(&[es, en])
    }

    /// Writes names in a random spelling, and patterns unchanged.
    fn write_targets(&mut self, targets: &[String]) -> String {
        let write = |target: &String| match target.contains('*') {
            true => target.clone(),
            false => match self.rng.below(4) {
                0 => target.to_uppercase(),
                1 => reference::fold(target),
                _ => target.clone(),
            },
        };
        targets.iter().map(write).collect::<Vec<_>>().join(", ")
    }

    fn write_interval(&mut self, start: Start, end: End) -> Vec<String> {
        let text = |ms| self.zone.text(Time::from_ms(ms), Round::Down);
        let from = match start {
            Start::Default => None,
            Start::Now => Some("ahora".to_owned()),
            Start::At(from) => Some(text(from)),
        };
        let quit = ("hasta", "until", "salir".to_owned());
        let length = |ms| ("por", "for", format!("{}s", ms / 1000));
        let end = match end {
            End::Open => vec![],
            End::Quit => vec![quit],
            End::KeepAlive(ms) => vec![quit, length(ms)],
            End::Until(until) => vec![("hasta", "until", text(until))],
            End::For(ms) => vec![length(ms)],
            End::Nights(nights) => vec![("noches", "nights", nights.to_string())],
        };
        let from = from.map(|from| format!("{}={from}", self.either("desde", "from")));
        let mut options: Vec<String> = from.into_iter().collect();
        for (es, en, value) in end {
            options.push(format!("{}={value}", self.either(es, en)));
        }
        options
    }
}
