//! A collector in trouble, and a process that was away: what is published, with late rows and gaps,
//! is what the nodes reported.
//!
//! The real binary reads a simulated collector over gRPC, whose clock is moved on by a minute whenever
//! the binary has read what there was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use catchment_core::{EventTime, Period};
use catchment_simulator::{Options, Verdict, judge};
use serde_json::Value;

use crate::binary;

/// Long past anything a loaded machine needs; what is waited for is in the log, not on a clock.
const PATIENCE: Duration = Duration::from_mins(5);
const BUCKET: i64 = 15;
/// Between the end of a bucket and its first look.
const LOOK: i64 = 360;

/// A simulated collector, and a folder for what is read from it.
struct Lab {
    runtime: tokio::runtime::Runtime,
    collector: Option<catchment_simulator::Running>,
    dir: tempfile::TempDir,
    pipeline: Option<Child>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Lab {
    /// A small cluster of which one flush in 20 arrives one to four minutes late.
    fn new(change: impl FnOnce(Options) -> Options) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let options = change(Options {
            listen: ([127, 0, 0, 1], 0).into(),
            nodes: 12,
            flows_per_second: 12,
            // Faster than ours, so that the reader looks at the clock every second.
            speed: 15.0,
            late_share: 0.05,
            backfill: Period::secs(120),
            truth: Some(dir.path().join("truth.ndjson")),
            ..Options::default()
        });
        let collector = runtime.block_on(catchment_simulator::serve(options)).expect("the collector starts");
        let config = format!(
            "cluster: lab\nworkers: 1\nspool: {{ dir: {0}/spool }}\nsources:\n  calico: {{ type: goldmane, address: \
             'http://{1}', begin: latest }}\nsinks:\n  lines: {{ type: jsonl, path: {0}/rows.jsonl, datasets: [flows, late, gaps] }}\n\
             http: {{ listen: '127.0.0.1:0' }}\n",
            dir.path().display(),
            collector.local_addr()
        );
        fs::write(dir.path().join("catchment.yaml"), config).expect("written");
        Self { runtime, collector: Some(collector), dir, pipeline: None }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn now(&self) -> i64 {
        self.collector.as_ref().expect("running").now().secs()
    }

    fn skip(&self, secs: u64) {
        self.collector.as_ref().expect("running").skip(Period::secs(secs));
    }

    fn start(&mut self) {
        let log = fs::File::create(self.file("pipeline.log")).expect("a file");
        let config = self.file("catchment.yaml");
        let run = binary().args(["run", "--config"]).arg(config).stdout(Stdio::null()).stderr(log).spawn();
        self.pipeline = Some(run.expect("the binary starts"));
    }

    fn kill(&mut self) {
        if let Some(mut pipeline) = self.pipeline.take() {
            let _ = pipeline.kill();
            let _ = pipeline.wait();
        }
    }

    fn wait_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if self.is_idle() {
                self.skip(60);
            }
            let ended = self.pipeline.as_mut().and_then(|p| p.try_wait().expect("a child"));
            let log = || fs::read_to_string(self.dir.path().join("pipeline.log")).unwrap_or_default();
            assert!(ended.is_none(), "the pipeline ended: {}", log());
            assert!(Instant::now() < deadline, "in vain: {what}; {}", log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whether every bucket was read, and looked at again, as soon as the collector's time allowed; one
    /// is read a minute after its end, and the reader knows the time from flows that are up to 30 s old.
    fn is_idle(&self) -> bool {
        let headers = headers(&self.file("spool"));
        let now = self.now() - self.now() % BUCKET;
        let looked_at = now - LOOK - 6 * BUCKET;
        let marks = || headers.iter().filter(|h| h["entry"] == "progress").map(|h| seconds(&h["up_to"]));
        let is_early = marks().min().is_some_and(|first| looked_at < first);
        marks().max() >= Some(now - 60 - 5 * BUCKET) && (is_early || is_looked_at(&headers, looked_at))
    }

    /// Until everything before `secs` was read.
    fn wait_for_progress(&mut self, secs: i64) {
        self.wait_until("progress", |lab| lab.progress() >= secs);
    }

    /// Until the bucket that starts at `secs` was looked at again. Earlier ones have been, then.
    fn wait_for_look(&mut self, secs: i64) {
        self.wait_until("a later look", |lab| is_looked_at(&headers(&lab.file("spool")), secs));
    }

    fn progress(&self) -> i64 {
        let marks = headers(&self.file("spool")).into_iter().filter(|h| h["entry"] == "progress");
        marks.map(|h| seconds(&h["up_to"])).max().unwrap_or_default()
    }

    /// Waits until what the log holds by now is published, ends both sides, and judges the windows that
    /// end by `until`: what came late to them has been read.
    fn judge(mut self, until: i64) -> (Verdict, Vec<Gap>) {
        let logged = EventTime::from_secs(self.progress() + 60).to_rfc3339();
        self.wait_until("rows", |lab| lines(&lab.file("rows.jsonl")).any(|row| is_after(&row, &logged)));
        self.kill();
        let collector = self.collector.take().expect("running");
        self.runtime.block_on(collector.shutdown()).expect("the ledger is complete");
        let until = EventTime::from_secs(until).to_rfc3339();
        let is_judged = |row: &Value| row["window_end"].as_str().is_none_or(|end| end <= until.as_str());
        let rows: Vec<Value> = lines(&self.file("rows.jsonl")).filter(is_judged).collect();
        let text = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        fs::write(self.file("judged.jsonl"), text).expect("written");
        let verdict = judge(&self.file("truth.ndjson"), &self.file("judged.jsonl")).expect("both are readable");
        (verdict, rows.iter().filter(|row| row["dataset"] == "gaps").map(Gap::of).collect())
    }
}

#[derive(Debug)]
struct Gap {
    start: i64,
    end: i64,
    reason: String,
}

impl Gap {
    fn of(row: &Value) -> Self {
        let at = |name: &str| EventTime::parse_rfc3339(row[name].as_str().expect("a time")).expect("a time").secs();
        Self { start: at("gap_start"), end: at("gap_end"), reason: row["reason"].as_str().expect("a word").to_owned() }
    }
}

fn is_after(row: &Value, time: &str) -> bool {
    row["dataset"] == "flows" && row["window_start"].as_str() > Some(time)
}

fn seconds(micros: &Value) -> i64 {
    micros.as_i64().map_or(i64::MIN, |micros| micros / 1_000_000)
}

/// The whole lines of a file that may still be written to.
fn lines(path: &Path) -> impl Iterator<Item = Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or(String::new(), |(whole, _)| whole.to_owned());
    whole.lines().map(|line| serde_json::from_str(line).expect("a row")).collect::<Vec<_>>().into_iter()
}

/// The headers of everything in the log: what an operator would look for with `grep`.
fn headers(dir: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for file in segments(dir) {
        let bytes = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let starts = text.match_indices("{\"entry\":\"").map(|(at, _)| at);
        found.extend(starts.filter_map(|at| serde_json::Deserializer::from_str(&text[at..]).into_iter().next()?.ok()));
    }
    found
}

/// A bucket that gave a gap is not looked at again.
fn is_looked_at(headers: &[Value], bucket: i64) -> bool {
    let is_look = |h: &Value| h["purpose"] == "correction" || h["entry"] == "gap";
    let holds = |h: &Value| (seconds(&h["span"]["start"])..seconds(&h["span"]["end"])).contains(&bucket);
    headers.iter().any(|h| is_look(h) && holds(h))
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { segments(&path) } else { vec![path] }).collect()
}

fn start() -> i64 {
    Options::default().start.secs()
}

fn assert_true(verdict: &Verdict, whole_windows: usize) {
    assert_eq!(verdict.different, 0, "{:?}", verdict.example);
    assert!(verdict.windows >= whole_windows, "{verdict:?}");
}

#[test]
fn a_restarted_collector_takes_nothing_back_and_what_it_forgot_is_a_gap() {
    let restart = start() + 600;
    let mut lab = Lab::new(|options| Options { restart_after: Some(Period::secs(600)), ..options });
    lab.start();
    lab.wait_for_look(restart + 60);
    let (verdict, gaps) = lab.judge(restart + 60);
    assert_true(&verdict, 6);
    // Nodes sent five minutes again; what was older, and not yet looked at again, may lack what came late.
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.reason == "collector_restarted"), "{gaps:?}");
    // A look that comes while they are still sending meets a bucket that is half there again.
    assert!(gaps.iter().all(|gap| gap.end <= restart), "{gaps:?}");
}

#[test]
fn what_nodes_send_again_is_corrected_as_the_collector_counts_it() {
    let mut lab = Lab::new(|options| Options { resend: true, nodes: 40, ..options });
    lab.start();
    lab.wait_for_look(start() + 600);
    let (verdict, gaps) = lab.judge(start() + 600);
    assert_true(&verdict, 8);
    assert!(gaps.is_empty(), "{gaps:?}");
}

#[test]
fn ten_minutes_away_leave_no_trace() {
    let mut lab = Lab::new(|options| options);
    lab.start();
    lab.wait_for_progress(start() + 240);
    lab.kill();
    lab.skip(600);
    lab.start();
    let back = lab.now() - lab.now() % BUCKET;
    lab.wait_for_look(back + 60);
    let (verdict, gaps) = lab.judge(back + 60);
    assert_true(&verdict, 15);
    assert!(gaps.is_empty(), "{gaps:?}");
}

/// Everything the collector forgot is one interval: from the oldest bucket that nobody had looked at
/// again to the oldest that it had when it was next asked.
fn assert_forgotten(gaps: &[Gap], read_until: i64, asked_from: i64, asked_until: i64) {
    assert!(gaps.iter().all(|gap| gap.reason == "collector_forgot"), "{gaps:?}");
    let mut gaps: Vec<_> = gaps.iter().map(|gap| (gap.start, gap.end)).collect();
    gaps.sort_unstable();
    assert!(gaps.windows(2).all(|pair| pair[0].1 == pair[1].0), "without holes and overlaps: {gaps:?}");
    assert!(gaps.iter().any(|gap| gap.0 == read_until), "unread from {read_until}: {gaps:?}");
    let (first, last) = (gaps[0].0, gaps.last().expect("a gap").1);
    assert!(first >= read_until - LOOK - 4 * 60, "was looked at: {gaps:?}");
    // Two buckets before expiry are given up, and one is cut.
    let forgotten = |now: i64| now - 3600..=now - 3600 + 4 * BUCKET;
    assert!(last >= *forgotten(asked_from).start() && last <= *forgotten(asked_until).end(), "{gaps:?}");
}

#[test]
fn two_hours_away_are_a_gap_of_what_the_collector_forgot() {
    let mut lab = Lab::new(|options| options);
    lab.start();
    lab.wait_for_look(start() + 240);
    lab.kill();
    let (read_until, stopped) = (lab.progress(), lab.now());
    lab.skip(7200);
    lab.start();
    let back = lab.now() - lab.now() % BUCKET;
    lab.wait_for_look(back + 60);
    let asked_until = lab.now();
    let (verdict, gaps) = lab.judge(back + 60);
    assert_true(&verdict, 60);
    assert_forgotten(&gaps, read_until, stopped + 7200, asked_until);
}

#[test]
fn two_hours_that_pass_for_the_collector_alone_are_no_restart() {
    let mut lab = Lab::new(|options| options);
    lab.start();
    lab.wait_for_look(start() + 240);
    // As if this machine had been suspended: our clock knows nothing of it.
    lab.skip(7200);
    let back = lab.now() - lab.now() % BUCKET;
    lab.wait_for_look(back + 60);
    let (verdict, gaps) = lab.judge(back + 60);
    assert_true(&verdict, 60);
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.reason == "collector_forgot"), "{gaps:?}");
}
