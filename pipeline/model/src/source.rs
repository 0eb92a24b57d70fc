//! The source: sweeps closed buckets, looks again, and learns from the log after a start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use crate::around::Around;
use crate::coverage::Reached;
use crate::entry::{Answer, Entry, Key, Position, Purpose, Reason, Tick};
use crate::flaws::Flaw;
use crate::planner::{Action, Begin, Planner, holds, is_due};

/// Rows of a page.
const PAGE: usize = 2;

/// What the log holds about a bucket.
#[derive(Clone, Debug, Default)]
struct Known {
    entries: Vec<Position>,
    /// Of the whole bucket; `None` where corrections make it more than its entries' sum.
    digest: Option<Answer>,
}

/// What happens once an append is durable.
#[derive(Clone, Debug)]
enum Then {
    Passed(Tick),
    /// Buckets with what was read, and where among the entries their pages are.
    Swept(Vec<(Tick, Answer, Range<usize>)>),
    Corrected {
        bucket: Tick,
        known: Known,
        answer: Answer,
        corrected: bool,
        lost: bool,
    },
}

/// Entries on their way into the log.
#[derive(Clone, Debug)]
struct Append {
    /// Appended one after the other; one part, unless a flaw splits it.
    parts: VecDeque<Vec<Entry>>,
    /// Position of the first entry, once that is known.
    first: Option<Position>,
    then: Then,
}

#[derive(Clone, Debug)]
enum State {
    Learn,
    Idle,
    Read {
        buckets: Vec<(Tick, Answer)>,
        look: bool,
    },
    Append(Append),
    /// Handed over; the answer comes with the sync.
    Synced(Append),
    Stopped,
}

/// How a source was configured.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Buckets that one mark may close.
    pub batch: usize,
    /// Where an empty log begins.
    pub begin: Begin,
}

/// Reads one collector into one log.
#[derive(Clone, Debug)]
pub struct Source {
    state: State,
    planner: Planner,
    known: BTreeMap<Tick, Known>,
    doubt: Option<Tick>,
    /// The log was full when it had been cut so often.
    full_at: Option<u64>,
    habits: Habits,
}

impl Source {
    /// One that has yet to learn what is in the log.
    pub fn new(habits: Habits) -> Self {
        let planner = Planner::default();
        Self { state: State::Learn, planner, known: BTreeMap::new(), doubt: None, full_at: None, habits }
    }

    /// Whether there is anything to do.
    pub fn can_step(&mut self, around: &Around) -> bool {
        match &self.state {
            State::Learn | State::Read { .. } => true,
            State::Append(_) => self.full_at != Some(around.log.cuts),
            State::Idle => self.planner.next(around.collector.now) != Action::Wait,
            State::Synced(_) => !around.log.is_staged(),
            State::Stopped => false,
        }
    }

    /// What the next step does, for people.
    pub fn describe(&self) -> String {
        match &self.state {
            State::Learn => "learns what is in the log".to_owned(),
            State::Idle => "asks the collector".to_owned(),
            State::Read { buckets, look } => {
                let what = if *look { "has looked again" } else { "has read" };
                format!("{what}: {buckets:?}")
            }
            State::Append(append) => format!("appends {:?}", append.parts.front()),
            State::Synced(_) => "is told that its append is durable".to_owned(),
            State::Stopped => "has stopped".to_owned(),
        }
    }

    /// Another process has the log now.
    pub fn stop(&mut self) {
        self.state = State::Stopped;
    }

    /// The next step.
    pub fn step(&mut self, around: &mut Around) {
        self.state = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Learn => self.learn(around),
            State::Idle => self.ask(around),
            State::Read { buckets, look: false } => self.sweep(buckets, around),
            State::Read { mut buckets, look: true } => {
                let (bucket, answer) = buckets.pop().expect("a look reads one bucket");
                self.look(bucket, answer, around)
            }
            State::Append(append) => self.append(append, around),
            State::Synced(append) if !append.parts.is_empty() => State::Append(append),
            State::Synced(append) => self.done(append, around),
            State::Stopped => State::Stopped,
        };
    }

    fn learn(&mut self, around: &Around) -> State {
        let (log, now) = (&around.log, around.collector.now);
        let (mut flows, mut marks, mut damaged) = (BTreeMap::<Tick, Known>::new(), Vec::new(), BTreeSet::new());
        for position in log.first()..log.end() {
            match log.read(position).expect("between first and end") {
                Entry::Progress(up_to) => marks.push(*up_to),
                Entry::Gap { from, .. } => drop(damaged.insert(*from)),
                Entry::Flows { bucket, purpose, rows } => {
                    let whole = || Known { entries: Vec::new(), digest: Some(Answer::new()) };
                    let known = flows.entry(*bucket).or_insert_with(whole);
                    known.entries.push(position);
                    known.digest = known.digest.take().filter(|_| *purpose == Purpose::Report);
                    known.digest.iter_mut().for_each(|digest| add(digest, rows));
                }
            }
        }
        self.planner = Planner::new(marks.iter().copied().max(), self.habits.begin, now);
        let empty = || Known { entries: Vec::new(), digest: Some(Answer::new()) };
        let buckets = marks.iter().map(|mark| mark - 1).filter(|bucket| !damaged.contains(bucket));
        self.known = buckets.map(|bucket| (bucket, flows.remove(&bucket).unwrap_or_else(empty))).collect();
        for bucket in self.known.keys() {
            self.planner.recall(*bucket, now);
        }
        self.doubt = None;
        State::Idle
    }

    fn ask(&mut self, around: &mut Around) -> State {
        let now = around.collector.now;
        match self.planner.next(now) {
            Action::Wait => State::Idle,
            Action::Forget(to) => {
                around.reached.note(Reached::CollectorForgot);
                let gap = Entry::Gap { from: self.planner.cursor, to, reason: Reason::Forgot };
                let gap = Some(gap).filter(|_| !around.flaws.has(Flaw::ForgottenUnsaid));
                let entries = gap.into_iter().chain([Entry::Progress(to)]).collect();
                append([entries], Then::Passed(to))
            }
            Action::Sweep(first) => {
                let due = (first..).take(self.habits.batch).take_while(|bucket| is_due(*bucket, now));
                let buckets = due.map(|bucket| (bucket, around.collector.list(bucket))).collect();
                State::Read { buckets, look: false }
            }
            Action::Look(bucket) => State::Read { buckets: vec![(bucket, around.collector.list(bucket))], look: true },
        }
    }

    fn sweep(&mut self, buckets: Vec<(Tick, Answer)>, around: &mut Around) -> State {
        let now = around.collector.now;
        if !holds(buckets[0].0, now) {
            around.reached.note(Reached::ExpiredWhileReading);
            return State::Idle;
        }
        let (mut entries, mut swept) = (Vec::new(), Vec::new());
        let up_to = buckets.last().map_or(0, |(bucket, _)| bucket + 1);
        for (bucket, answer) in buckets {
            let rows: Vec<_> = answer.iter().map(|(key, count)| (*key, *count)).collect();
            let pages = rows.chunks(PAGE).map(|page| flows(bucket, Purpose::Report, page));
            swept.push((bucket, answer.clone(), entries.len()..entries.len() + pages.len()));
            entries.extend(pages);
            if self.in_doubt(bucket, answer.is_empty(), around) {
                around.reached.note(Reached::CollectorRestartDoubted);
                entries.push(Entry::Gap { from: bucket, to: bucket + 1, reason: Reason::Restarted });
            }
        }
        let marks = vec![Entry::Progress(up_to)];
        let apart = around.flaws.has(Flaw::ProgressApart) && !entries.is_empty();
        let parts = if apart { vec![entries, marks] } else { vec![[entries, marks].concat()] };
        append(parts, Then::Swept(swept))
    }

    /// Whether a bucket read for the first time may be what a restart of the collector left of it.
    fn in_doubt(&mut self, bucket: Tick, is_empty: bool, around: &Around) -> bool {
        let before = bucket.saturating_sub(1);
        let busy = |known: &Known| known.digest.as_ref().is_none_or(|digest| !digest.is_empty());
        let was_busy = self.known.get(&before).is_some_and(busy) && holds(before, around.collector.now);
        if is_empty && self.doubt.is_none() && was_busy && around.collector.list(before).is_empty() {
            self.doubt = Some(around.collector.now);
        }
        let in_doubt = self.doubt.is_some_and(|noticed| bucket < noticed);
        if !is_empty || !in_doubt {
            self.doubt = None;
        }
        in_doubt
    }

    fn look(&mut self, bucket: Tick, answer: Answer, around: &mut Around) -> State {
        if !holds(bucket, around.collector.now) {
            return State::Idle;
        }
        let known = self.known.remove(&bucket).unwrap_or_default();
        if known.digest.as_ref() == Some(&answer) {
            around.judge.given(bucket, &answer);
            self.remember(bucket, known, around.collector.now);
            return State::Idle;
        }
        match logged(&known, around) {
            Some(logged) => self.correct(bucket, known, &logged, answer, around),
            None => self.give_up(bucket, &answer, around),
        }
    }

    /// What the answer differs from has left the log, so what is missing cannot be told.
    fn give_up(&mut self, bucket: Tick, answer: &Answer, around: &mut Around) -> State {
        around.reached.note(Reached::LookIncomparable);
        self.planner.settled(bucket);
        if around.flaws.has(Flaw::LossSettledSilently) {
            around.judge.given(bucket, answer);
            return State::Idle;
        }
        let gap = Entry::Gap { from: bucket, to: bucket + 1, reason: Reason::Incomparable };
        append([vec![gap]], Then::Passed(self.planner.cursor))
    }

    fn correct(&mut self, bucket: Tick, known: Known, logged: &Answer, answer: Answer, around: &mut Around) -> State {
        let before = |key: &Key| logged.get(key).copied().unwrap_or(0);
        let whole = around.flaws.has(Flaw::LookLoggedWhole);
        let grown = answer.iter().filter(|(key, count)| **count > before(key));
        let rows: Vec<_> = grown.map(|(key, count)| (*key, if whole { *count } else { count - before(key) })).collect();
        let lost = logged.iter().any(|(key, count)| answer.get(key).is_none_or(|now| now < count));
        let mut entries: Vec<_> = Some(rows.as_slice())
            .filter(|rows| !rows.is_empty())
            .map(|rows| flows(bucket, Purpose::Correction, rows))
            .into_iter()
            .collect();
        if lost {
            around.reached.note(Reached::CollectorShrank);
            entries.push(Entry::Gap { from: bucket, to: bucket + 1, reason: Reason::Restarted });
        }
        let then = Then::Corrected { bucket, known, answer, corrected: !rows.is_empty(), lost };
        if entries.is_empty() {
            return self.done(Append { parts: VecDeque::new(), first: None, then }, around);
        }
        around.reached.note_if(!rows.is_empty(), Reached::Correction);
        append([entries], then)
    }

    fn append(&mut self, mut append: Append, around: &mut Around) -> State {
        let part = append.parts.pop_front().expect("an append has a part");
        let (first, had_yielded) = (around.log.end(), around.log.yielded);
        let has_room = around.log.stage(&part, around.flaws);
        around.reached.note_if(around.log.yielded && !had_yielded, Reached::LookBackYielded);
        if !has_room {
            around.reached.note(Reached::LogFull);
            self.full_at = Some(around.log.cuts);
            append.parts.push_front(part);
            return State::Append(append);
        }
        self.full_at = None;
        append.first.get_or_insert(first);
        if append.parts.is_empty() {
            around.judge.gives(gives(&append.then));
        }
        State::Synced(append)
    }

    fn done(&mut self, append: Append, around: &mut Around) -> State {
        let now = around.collector.now;
        let first = append.first.unwrap_or_default();
        match append.then {
            Then::Passed(to) => self.planner.cursor = to,
            Then::Swept(buckets) => {
                for (bucket, answer, pages) in buckets {
                    let entries = pages.map(|page| first + page).collect();
                    self.remember(bucket, Known { entries, digest: Some(answer) }, now);
                    self.planner.cursor = bucket + 1;
                }
            }
            Then::Corrected { bucket, mut known, answer, corrected, lost } => {
                around.judge.given(bucket, &answer);
                known.entries.extend(corrected.then_some(first));
                if lost {
                    self.planner.settled(bucket);
                } else {
                    self.remember(bucket, Known { digest: Some(answer), ..known }, now);
                }
            }
        }
        State::Idle
    }

    fn remember(&mut self, bucket: Tick, known: Known, now: Tick) {
        self.planner.look_again(bucket, now);
        self.known.insert(bucket, known);
    }
}

fn append(parts: impl Into<VecDeque<Vec<Entry>>>, then: Then) -> State {
    State::Append(Append { parts: parts.into(), first: None, then })
}

/// What the judge may hold the log to once the append is durable.
fn gives(then: &Then) -> Vec<(Tick, Answer)> {
    match then {
        Then::Passed(_) => Vec::new(),
        Then::Swept(buckets) => buckets.iter().map(|(bucket, answer, _)| (*bucket, answer.clone())).collect(),
        Then::Corrected { bucket, answer, .. } => vec![(*bucket, answer.clone())],
    }
}

/// The sum of what was logged about a bucket; `None` once a part of it has left the log.
fn logged(known: &Known, around: &Around) -> Option<Answer> {
    let mut sum = Answer::new();
    for &position in &known.entries {
        match around.log.read(position)? {
            Entry::Flows { rows, .. } => add(&mut sum, rows),
            other => unreachable!("position {position} holds {other:?}, not flows"),
        }
    }
    Some(sum)
}

fn add(sum: &mut Answer, rows: &[(Key, u32)]) {
    for (key, count) in rows {
        *sum.entry(*key).or_default() += count;
    }
}

fn flows(bucket: Tick, purpose: Purpose, rows: &[(Key, u32)]) -> Entry {
    Entry::Flows { bucket, purpose, rows: rows.to_vec() }
}
