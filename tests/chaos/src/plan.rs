//! What a run does, drawn from its seed before it begins: which jobs are submitted when, and which faults strike when.
//! The same seed and size give the same plan. Where a fault meets a job still depends on the machine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// The processes of a run, by their roles. No role has one process alone.
pub const LAYOUT: [&[&str]; 10] = [
    &["api"],
    &["api"],
    &["intake"],
    &["intake"],
    &["relay"],
    &["relay"],
    &["worker"],
    &["worker"],
    &["webhooks", "janitor"],
    &["webhooks", "janitor"],
];

/// Organisations that submit jobs.
pub const ORGANISATIONS: [&str; 3] = ["acme", "borealis", "cirrus"];

/// How much a run does.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub seed: u64,
    pub jobs: usize,
    pub kills: usize,
    /// Faults that are no SIGKILL.
    pub faults: usize,
    /// How long load and faults last.
    pub load: Duration,
}

#[derive(Debug)]
pub struct Plan {
    pub size: Size,
    /// In the order of their times.
    pub jobs: Vec<PlannedJob>,
    /// In the order of their times.
    pub faults: Vec<PlannedFault>,
}

#[derive(Debug, Clone)]
pub struct PlannedJob {
    /// The job's place in the plan.
    pub number: usize,
    pub at: Duration,
    /// An index into [`ORGANISATIONS`].
    pub organisation: usize,
    pub door: Door,
    /// Submitted under an idempotency key. Over AMQP every job is.
    pub keyed: bool,
    /// How often the same request is submitted again under its key.
    pub repeats: u32,
    /// Another request is submitted under its key, and must be refused.
    pub conflicts: bool,
    /// Erased on request so long after it was accepted.
    pub erase_after: Option<Duration>,
    pub content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Http { sandbox: bool },
    Amqp,
}

/// What a job asks for, which decides how it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Sandbox: outcomes made up from directives in the image.
    Similar,
    Different,
    InDoubt,
    NoFace,
    Fails,
    SecondTry,
    Slow,
    /// Live: a picture without a face.
    Blank,
    /// Live: a face compared with itself.
    SameFace,
    /// Live: a person in the registry, who pays.
    Registered,
    /// Live: a number that is not in the registry.
    Unregistered,
}

#[derive(Debug, Clone, Copy)]
pub struct PlannedFault {
    pub at: Duration,
    pub fault: Fault,
}

/// A connection of a process to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Database,
    Broker,
    Webhooks,
}

/// What a network does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Open connections are closed.
    Cut,
    /// Open connections stay open and carry nothing any more.
    Swallow,
    /// Bytes that belong to no protocol come out of open connections.
    Garble,
    /// Everything comes late by so much, for a while.
    Slow { delay: Duration, time: Duration },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; the process is started again after `down`.
    Kill { slot: usize, down: Duration },
    /// SIGSTOP, and SIGCONT after `time`.
    Stop { slot: usize, time: Duration },
    /// Of one process, or of all.
    Network { link: Link, slot: Option<usize>, trouble: Trouble },
    /// So many of a hundred sessions with Postgres are ended by it.
    EndSessions { percent: u32 },
    /// Postgres refuses every change for a while.
    ReadOnly { time: Duration },
    /// Doorbells vanish from the broker; with `submissions` the producers' messages too.
    Purge { submissions: bool },
    /// The broker closes all our connections.
    CloseConnections,
    /// Leases, waits and due times come nearer by so much.
    Clock { step: Duration },
    /// A row or message that cannot be dealt with.
    Poison { kind: Poison },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Poison {
    /// A running job without a lease whose parameters no version knows.
    RunningJob,
    /// A queued job whose parameters no version knows.
    QueuedJob,
    /// A reply to an address that no message can carry.
    Reply,
    /// A submission of an organisation whose settings no version knows.
    Settings,
    /// An event for an endpoint whose secret nobody can open.
    Endpoint,
    /// An image that is due and cannot be deleted.
    Blob,
}

impl Poison {
    pub const ALL: [Self; 6] =
        [Self::RunningJob, Self::QueuedJob, Self::Reply, Self::Settings, Self::Endpoint, Self::Blob];
}

impl Fault {
    /// The word that names this sort of fault, for `--without` and for the report.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Stop { .. } => "stop",
            Self::Network { trouble, .. } => match trouble {
                Trouble::Cut => "cut",
                Trouble::Swallow => "swallow",
                Trouble::Garble => "garble",
                Trouble::Slow { .. } => "slow",
            },
            Self::EndSessions { .. } => "end-sessions",
            Self::ReadOnly { .. } => "read-only",
            Self::Purge { .. } => "purge",
            Self::CloseConnections => "close-connections",
            Self::Clock { .. } => "clock",
            Self::Poison { .. } => "poison",
        }
    }
}

impl fmt::Display for Plan {
    /// Every fault of the plan, a line each.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.faults {
            writeln!(to, "{:7.1} s  {:?}", planned.at.as_secs_f64(), planned.fault)?;
        }
        Ok(())
    }
}

impl Plan {
    /// Draws a plan. Faults named in `without` are left out, and others come in their place.
    #[must_use]
    pub fn draw(size: Size, without: &[String]) -> Self {
        // Two sources, so that more jobs do not change the faults.
        let mut random = StdRng::seed_from_u64(size.seed);
        let jobs = (0..size.jobs).map(|number| job(number, size, &mut random)).collect();
        let mut random = StdRng::seed_from_u64(size.seed ^ 0xc4a0_5000);
        let mut faults = kills(size, &mut random);
        let mut poisons = Poison::ALL.iter().cycle();
        while faults.len() < size.kills + size.faults {
            let fault = other_fault(&mut random, &mut poisons);
            if !without.iter().any(|name| name == fault.name()) {
                let at = moment(faults.len() - size.kills, size.faults, size.load, &mut random);
                faults.push(PlannedFault { at, fault });
            }
        }
        faults.sort_by_key(|planned| planned.at);
        Self { size, jobs, faults }
    }

    /// How many of each sort of fault.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for planned in &self.faults {
            *counts.entry(planned.fault.name()).or_default() += 1;
        }
        counts
    }
}

/// When the `place`th of `count` things happens: evenly over the load, shaken a little.
fn moment(place: usize, count: usize, load: Duration, random: &mut StdRng) -> Duration {
    let share = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    load.mul_f64(((share(place) + random.random_range(0.0..1.0)) / share(count.max(1))).min(1.0))
}

fn job(number: usize, size: Size, random: &mut StdRng) -> PlannedJob {
    use Content::{
        Blank, Different, Fails, InDoubt, NoFace, Registered, SameFace, SecondTry, Similar, Slow, Unregistered,
    };
    let door = match random.random_range(0..100) {
        0..50 => Door::Http { sandbox: true },
        50..62 => Door::Http { sandbox: false },
        _ => Door::Amqp,
    };
    let drawn = random.random_range(0..100);
    let content = if door == (Door::Http { sandbox: true }) {
        match drawn {
            0..50 => Similar,
            50..65 => Different,
            65..75 => InDoubt,
            75..85 => NoFace,
            85..90 => Fails,
            90..95 => SecondTry,
            _ => Slow,
        }
    } else {
        match drawn {
            0..86 => Blank,
            86..90 => SameFace,
            90..97 => Registered,
            _ => Unregistered,
        }
    };
    let keyed = door == Door::Amqp || random.random_bool(0.9);
    PlannedJob {
        number,
        at: moment(number, size.jobs, size.load, random),
        organisation: random.random_range(0..ORGANISATIONS.len()),
        door,
        keyed,
        repeats: if keyed && random.random_bool(0.15) { random.random_range(1..4) } else { 0 },
        conflicts: keyed && random.random_bool(0.05),
        erase_after: random.random_bool(0.05).then(|| Duration::from_millis(random.random_range(0..5_000))),
        content,
    }
}

/// SIGKILLs, each process in turn and in random order, so that every role is hit.
fn kills(size: Size, random: &mut StdRng) -> Vec<PlannedFault> {
    let mut slots = Vec::new();
    let kill = |place: usize| {
        if slots.is_empty() {
            slots.extend(0..LAYOUT.len());
        }
        let slot = slots.swap_remove(random.random_range(0..slots.len()));
        let at = moment(place, size.kills, size.load, random);
        let down = Duration::from_millis(random.random_range(0..2_000));
        PlannedFault { at, fault: Fault::Kill { slot, down } }
    };
    (0..size.kills).map(kill).collect()
}

fn other_fault<'a>(random: &mut StdRng, poisons: &mut impl Iterator<Item = &'a Poison>) -> Fault {
    let slot = random.random_range(0..LAYOUT.len());
    let tenths = |random: &mut StdRng, from: u64, to: u64| Duration::from_millis(random.random_range(from..to) * 100);
    match random.random_range(0..100) {
        0..10 => Fault::Stop { slot, time: tenths(random, 5, 120) },
        10..60 => {
            let links = [Link::Database, Link::Database, Link::Broker, Link::Broker, Link::Webhooks];
            let link = *links.choose(random).unwrap_or(&Link::Database);
            let trouble = match random.random_range(0..4) {
                0 => Trouble::Cut,
                1 => Trouble::Swallow,
                2 => Trouble::Garble,
                _ => Trouble::Slow { delay: tenths(random, 1, 8), time: tenths(random, 10, 80) },
            };
            Fault::Network { link, slot: random.random_bool(0.7).then_some(slot), trouble }
        }
        60..70 => Fault::EndSessions { percent: *[20, 50, 100].choose(random).unwrap_or(&50) },
        70..74 => Fault::ReadOnly { time: tenths(random, 10, 50) },
        74..82 => Fault::Purge { submissions: random.random_bool(0.5) },
        82..86 => Fault::CloseConnections,
        86..92 => Fault::Clock { step: tenths(random, 10, 1_500) },
        _ => Fault::Poison { kind: *poisons.next().unwrap_or(&Poison::QueuedJob) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { seed: 7, jobs: 500, kills: 30, faults: 300, load: Duration::from_mins(1) };

    #[test]
    fn a_seed_gives_the_same_plan_again_and_another_seed_another_plan() {
        let [first, again] = [SIZE, SIZE].map(|size| format!("{:?}", Plan::draw(size, &[])));
        let other = format!("{:?}", Plan::draw(Size { seed: 8, ..SIZE }, &[]));
        assert!(first == again && first != other);
    }

    #[test]
    fn a_plan_has_every_sort_of_fault_and_kills_every_process() {
        let plan = Plan::draw(SIZE, &[]);
        let names: Vec<_> = plan.counts().into_keys().collect();
        let all = [
            "clock",
            "close-connections",
            "cut",
            "end-sessions",
            "garble",
            "kill",
            "poison",
            "purge",
            "read-only",
            "slow",
            "stop",
            "swallow",
        ];
        assert_eq!(names, all);
        for slot in 0..LAYOUT.len() {
            let killed = |planned: &PlannedFault| matches!(planned.fault, Fault::Kill { slot: hit, .. } if hit == slot);
            assert_eq!(plan.faults.iter().filter(|planned| killed(planned)).count(), 3);
        }
        assert!(plan.faults.iter().all(|planned| planned.at <= SIZE.load));
    }

    #[test]
    fn faults_that_are_left_out_do_not_strike_and_others_take_their_place() {
        let plan = Plan::draw(SIZE, &["poison".to_owned(), "swallow".to_owned()]);
        assert!(!plan.counts().contains_key("poison") && !plan.counts().contains_key("swallow"));
        assert_eq!(plan.faults.len(), 330);
    }
}
