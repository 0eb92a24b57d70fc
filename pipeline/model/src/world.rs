//! Everything there is, and every step it can take.

use crate::around::{Around, Fault, Went};
use crate::broker::Broker;
use crate::collector::{Collector, FIRST, RING};
use crate::coverage::{Coverage, Reached};
use crate::entry::{Cursor, Tick};
use crate::invariants::{Invariant, Judge};
use crate::line::Kind;
use crate::log::Log;
use crate::planner::Begin;
use crate::process::Process;
use crate::rng::Rng;
use crate::schedule::Plan;
use crate::source::Habits;
use crate::store::{Request, Said, Store};

/// The last bucket that fills while there are faults.
const LAST: Tick = FIRST + 20;
/// Buckets that fill once faults have stopped: enough for a slot to end.
const TAIL: Tick = 8;

/// Entries of a log that fills up while a sink is slow. It holds the open windows and a slot.
const TIGHT: usize = 36;
/// Entries of a log that never fills up.
const ROOMY: usize = 1000;

/// One thing that can happen. Processes and lines are numbered by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A bucket closes.
    Tick,
    /// A node reports late.
    ReportLate,
    /// A bucket is counted twice.
    CountTwice,
    /// The collector restarts.
    RestartCollector,
    /// A process starts; one that stands still loses the log to it.
    Start,
    /// A process dies.
    Crash(usize),
    /// A process stands still.
    Stall(usize),
    /// It goes on.
    Resume(usize),
    /// The source does its next thing.
    Source(usize),
    /// The log's folder is lost; whoever starts next finds it empty.
    LoseLog,
    /// Somebody restores it, instead of the one that was begun in its place.
    RestoreLog,
    /// The log is synced.
    Sync,
    /// A line folds one entry.
    Fold(usize, usize),
    /// A sink does its next thing, perhaps badly.
    Publish(usize, usize, Option<Fault>),
    /// A commit arrives late.
    ArriveAtBroker(usize),
    /// A put or a swap arrives late.
    ArriveAtStore(usize),
    /// The broker gives up on an open transaction.
    TimeOut,
}

/// Everything there is.
#[derive(Clone, Debug)]
pub struct World {
    /// What outlives processes.
    pub around: Around,
    /// Who runs, oldest first.
    pub processes: Vec<Process>,
    /// The log while it is lost.
    lost: Option<Log>,
    kinds: Vec<Kind>,
    habits: Habits,
    /// How often processes die and stand still.
    unrest: usize,
    /// A line whose sink hardly moves while there are faults.
    slow: usize,
    started: usize,
    last: Tick,
}

impl World {
    /// A young stream, with what varies from schedule to schedule drawn by its seed.
    pub fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let kinds = match rng.below(8) {
            0 => vec![Kind::Kafka],
            1 => vec![Kind::Parquet],
            _ => vec![Kind::Kafka, Kind::Parquet],
        };
        let batch = if rng.one_in(3) { 5 } else { 1 };
        let begin = if rng.one_in(4) { Begin::Earliest } else { Begin::Latest };
        let habits = Habits { batch, begin };
        let max_entries = if rng.one_in(2) { TIGHT } else { ROOMY };
        let (unrest, slow) = ([0, 1, 1, 4][rng.below(4)], rng.below(6));
        let around = Around {
            collector: Collector::new(&mut rng),
            log: Log::new(0, max_entries, plan.flaws),
            broker: Broker::default(),
            store: Store::default(),
            rng,
            flaws: plan.flaws,
            reached: Coverage::default(),
            judge: Judge::new(plan.blind_to),
            trace: plan.traced.then(Vec::new),
        };
        Self { around, processes: Vec::new(), lost: None, kinds, habits, unrest, slow, started: 0, last: LAST }
    }

    /// From here on nothing goes wrong.
    pub fn stop_faults(&mut self) {
        self.last = self.around.collector.now + TAIL;
        self.around.say(|| "-- faults stop".to_owned());
    }

    /// Lists what can happen now, each as often as it is likely; without faults only what must.
    pub fn steps(&mut self, faults: bool, into: &mut Vec<(Step, usize)>) {
        into.clear();
        if self.around.collector.now < self.last {
            into.push((Step::Tick, 8));
        }
        if !self.processes.iter().any(|p| p.holds_log && (!faults || !p.is_stalled)) {
            into.push((Step::Start, 30));
        }
        if self.around.log.is_staged() {
            into.push((Step::Sync, 30));
        }
        into.extend((0..self.around.broker.in_flight.len()).map(|at| (Step::ArriveAtBroker(at), 10)));
        into.extend((0..self.around.store.in_flight.len()).map(|at| (Step::ArriveAtStore(at), 10)));
        for at in 0..self.processes.len() {
            self.process_steps(at, faults, into);
        }
        if self.lost.is_some() && self.processes.is_empty() {
            into.push((Step::RestoreLog, 15));
        }
        if faults {
            if self.can_lose_log() {
                into.push((Step::LoseLog, 4));
            }
            into.extend([(Step::ReportLate, 4), (Step::CountTwice, 1), (Step::RestartCollector, 1)]);
            if self.around.broker.is_open() {
                into.push((Step::TimeOut, 1));
            }
        }
    }

    /// A sink without a cursor would rightly begin with the log it finds: that is another stream's start.
    fn can_lose_log(&self) -> bool {
        let idle = self.processes.is_empty() && self.lost.is_none() && !self.around.log.is_torn();
        idle && self.cursors().iter().all(Option::is_some)
    }

    fn process_steps(&mut self, at: usize, faults: bool, into: &mut Vec<(Step, usize)>) {
        let (process, around) = (&mut self.processes[at], &self.around);
        if process.is_stalled {
            into.push((Step::Resume(at), 4));
            into.extend(faults.then_some((Step::Crash(at), 1)));
            return;
        }
        if faults {
            into.extend([(Step::Crash(at), self.unrest), (Step::Stall(at), self.unrest)]);
        }
        if process.source.can_step(around) {
            into.push((Step::Source(at), 30));
        }
        for (number, line) in process.lines.iter().enumerate() {
            if line.can_fold(around) {
                into.push((Step::Fold(at, number), 30));
            }
            if line.can_publish() {
                let is_slow = faults && self.slow == number;
                into.push((Step::Publish(at, number, None), if is_slow { 1 } else { 30 }));
            }
            if faults && line.asks() {
                into.push((Step::Publish(at, number, Some(Fault::Refused)), 1));
                into.push((Step::Publish(at, number, Some(Fault::AnswerLost)), 1));
                into.extend(line.changes_next().then_some((Step::Publish(at, number, Some(Fault::Delayed)), 2)));
            }
        }
    }

    /// Takes a step, and checks what must hold after every one.
    pub fn take(&mut self, step: Step) {
        self.say(step);
        match step {
            Step::Tick => self.around.collector.tick(&mut self.around.rng),
            Step::ReportLate => drop(self.around.collector.report_late(&mut self.around.rng)),
            Step::CountTwice => drop(self.around.collector.count_twice(&mut self.around.rng)),
            Step::RestartCollector => self.around.collector.restart(),
            Step::Start => self.start(),
            Step::Crash(at) => self.end(at),
            Step::Stall(at) => self.processes[at].is_stalled = true,
            Step::Resume(at) => self.resume(at),
            Step::Source(at) => self.processes[at].source.step(&mut self.around),
            Step::LoseLog => self.lose_log(),
            Step::RestoreLog => self.restore_log(),
            Step::Sync => self.sync(),
            Step::Fold(at, line) => self.fold(at, line),
            Step::Publish(at, line, fault) => self.publish(at, line, fault),
            Step::ArriveAtBroker(at) => self.arrive_at_broker(at),
            Step::ArriveAtStore(at) => self.arrive_at_store(at),
            Step::TimeOut => self.time_out(),
        }
        self.check(step);
    }

    /// The committed cursors, one a sink.
    fn cursors(&self) -> Vec<Option<Cursor>> {
        let of = |kind: &Kind| match kind {
            Kind::Kafka => self.around.broker.cursor.cursor,
            Kind::Parquet => self.around.store.cursor.and_then(|(state, _)| state.cursor),
        };
        self.kinds.iter().map(of).collect()
    }

    fn check(&mut self, step: Step) {
        let cursors = self.cursors();
        let around = &mut self.around;
        if self.lost.is_none() {
            around.judge.check_log(&around.log, &cursors);
        }
        if self.lost.is_none() && matches!(step, Step::Publish(..)) {
            around.judge.check_look_back(&around.log, around.collector.now.saturating_sub(RING - 1));
        }
        match step {
            Step::Publish(at, line, _) => match self.processes.get(at).map(|p| p.lines[line].kind()) {
                Some(Kind::Kafka) => around.judge.check_broker(&around.broker),
                Some(Kind::Parquet) => around.judge.check_store(&around.store),
                None => {}
            },
            Step::ArriveAtBroker(_) => around.judge.check_broker(&around.broker),
            Step::ArriveAtStore(_) => around.judge.check_store(&around.store),
            _ => {}
        }
    }

    fn lose_log(&mut self) {
        self.around.reached.note(Reached::LogLost);
        let empty = self.around.log.replaced(self.around.flaws);
        self.lost = Some(std::mem::replace(&mut self.around.log, empty));
        self.around.judge.log_is_lost = true;
    }

    fn restore_log(&mut self) {
        self.around.log = self.lost.take().expect("a step was possible");
        self.around.judge.log_is_lost = false;
    }

    fn start(&mut self) {
        if let Some(stalled) = self.processes.iter_mut().find(|process| process.holds_log) {
            self.around.reached.note(Reached::TakeOver);
            stalled.lose_log();
            self.tear();
        }
        let torn = self.around.log.recover(self.around.flaws);
        if self.lost.is_none() && self.around.log.end() > self.around.judge.reference.end() && torn.is_none() {
            self.around.reached.note(Reached::UnansweredAppend);
            self.around.judge.appended(&self.around.log);
        } else {
            self.around.judge.not_appended(&self.around.log);
        }
        if let Some((left, whole)) = torn {
            self.around.reached.note_if(left > 0, Reached::TornAppend);
            self.around.say(|| format!("    {left} of {whole} entries of the last append had reached the disk"));
        }
        self.started += 1;
        let process = Process::start(self.started, &self.kinds, self.habits, &mut self.around);
        self.processes.push(process);
    }

    /// What was written and not synced may have reached the disk in part.
    fn tear(&mut self) {
        let survive = self.around.rng.below(6);
        self.around.log.crash(survive);
    }

    /// A process ends: it died, or met an error that trying again cannot help.
    fn end(&mut self, at: usize) {
        self.around.reached.note(Reached::Crash);
        self.around.reached.note_if(self.around.broker.is_open(), Reached::CrashInOpenTransaction);
        if self.processes.remove(at).holds_log {
            self.tear();
        }
    }

    fn resume(&mut self, at: usize) {
        self.processes[at].is_stalled = false;
        self.around.reached.note_if(!self.processes[at].holds_log, Reached::ZombieResumed);
    }

    fn sync(&mut self) {
        self.around.log.sync();
        self.around.judge.appended(&self.around.log);
    }

    fn fold(&mut self, at: usize, line: usize) {
        let is_alone = self.processes.len() == 1;
        if self.processes[at].lines[line].fold(is_alone, &mut self.around) == Went::Fatal {
            self.end(at);
        }
    }

    fn publish(&mut self, at: usize, line: usize, fault: Option<Fault>) {
        let Process { lines, retention, .. } = &mut self.processes[at];
        let first = self.around.log.first();
        let went = lines[line].publish(fault, retention, &mut self.around);
        self.around.reached.note_if(self.around.log.first() > first, Reached::LogCut);
        if went == Went::Fatal {
            self.around.say(|| "    and ends: another took over, or the log is another one".to_owned());
            self.check(Step::Publish(at, line, fault));
            self.end(at);
        }
    }

    fn arrive_at_broker(&mut self, at: usize) {
        let producer = self.around.broker.in_flight.remove(at);
        let arrived = self.around.broker.commit(&producer).is_ok();
        let what = if arrived { Reached::LateCommitApplied } else { Reached::LateCommitFenced };
        self.around.reached.note(what);
    }

    fn arrive_at_store(&mut self, at: usize) {
        let request = self.around.store.in_flight.remove(at);
        let is_put = matches!(request, Request::Put { .. });
        let said = self.around.store.apply(request);
        self.around.reached.note(match (is_put, said) {
            (true, Said::Done(_)) => Reached::LatePutApplied,
            (true, Said::Refused) => Reached::LatePutRefused,
            (false, _) => Reached::LateSwap,
        });
    }

    fn time_out(&mut self) {
        self.around.reached.note(Reached::TransactionTimedOut);
        self.around.broker.time_out();
    }

    /// Nothing moves any more: what must hold at the end.
    pub fn judge(&mut self) {
        let newest = self.around.judge.reference.watermark();
        let due = self.around.collector.now - 1;
        // A source that has only begun with the bucket that fills owes nothing yet.
        let has_begun = !self.around.log.history().is_empty();
        if has_begun && newest < due {
            self.around.judge.fail(Invariant::Drains, || format!("buckets {newest} to {due} are never read"));
        }
        let around = &mut self.around;
        around.judge.judge_log(&around.log);
        if self.kinds.contains(&Kind::Kafka) {
            around.judge.judge_broker(&around.broker);
        }
        if self.kinds.contains(&Kind::Parquet) {
            around.judge.judge_store(&around.store);
        }
        if self.kinds.len() > 1 {
            around.judge.judge_both(&around.broker, &around.store);
        }
    }

    fn say(&mut self, step: Step) {
        if self.around.trace.is_none() {
            return;
        }
        let name = |at: usize| format!("process {}", self.processes[at].number);
        let line_name = |at: usize, line: usize| format!("{}, {:?},", name(at), self.processes[at].lines[line].kind());
        let line = match step {
            Step::Crash(at) => format!("{} dies", name(at)),
            Step::Stall(at) => format!("{} stands still", name(at)),
            Step::Resume(at) => format!("{} goes on", name(at)),
            Step::Source(at) => format!("{}, source, {}", name(at), self.processes[at].source.describe()),
            Step::Fold(at, line) => format!("{} folds", line_name(at, line)),
            Step::Publish(at, line, fault) => {
                let fault = fault.map_or(String::new(), |fault| format!(": {fault:?}"));
                format!("{} {}{fault}", line_name(at, line), self.processes[at].lines[line].describe())
            }
            other => format!("{other:?}"),
        };
        self.around.say(|| line);
    }
}
