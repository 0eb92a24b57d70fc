//! The source against a scripted collector.

mod support;

use std::time::Duration;

use catchment_core::{ByteSize, Entry, EventTime, LogWriter as _, PartitionId, Purpose, Source as _, Span};
use catchment_goldmane::{Begin, Config, GoldmaneSource};
use catchment_schemas::goldmane::FlowListRequest;
use prometheus_client::registry::Registry;
use support::{Collector, MemoryLog, config, flows, marks, now, run_until, source};

const WIDTH: i64 = 15;

fn progress(up_to: i64) -> Entry {
    Entry::Progress { partition: PartitionId(0), up_to: EventTime::from_secs(up_to) }
}

/// A log in which an earlier run came as far as `up_to`.
async fn log_up_to(up_to: i64) -> MemoryLog {
    let log = MemoryLog::default();
    log.append(vec![progress(up_to)]).await.expect("memory");
    log
}

#[tokio::test]
async fn every_closed_bucket_is_logged_once_with_its_progress_empty_ones_too() {
    let collector = Collector::new(WIDTH);
    let (old, new) = (collector.bucket(6), collector.bucket(3));
    collector.put(old, "web", 7);
    collector.put(new, "web", 9);
    collector.put(new, "db", 1);
    let address = format!("http://{}", collector.serve().await);
    let log = MemoryLog::default();
    run_until(config(&address), &log, log.until_progress(new + WIDTH)).await;

    let entries = log.entries();
    let expected = [(old, "web", 7), (new, "db", 1), (new, "web", 9)].map(|(b, n, p)| (b, n.to_owned(), p));
    assert_eq!(flows(&entries, Purpose::Report), expected);
    let marks = marks(&entries);
    assert!(marks.windows(2).all(|pair| pair[1] - pair[0] == WIDTH), "{marks:?}");
    assert!(marks[0] <= now() - 230 * WIDTH, "an empty log begins with the oldest bucket held");
    let is_report = |e: &Entry| matches!(e, Entry::Flows(flows) if flows.purpose == Purpose::Report);
    let flows_at = entries.iter().position(is_report).expect("two buckets have flows");
    assert_eq!(entries[flows_at + 1], progress(old + WIDTH));
}

#[tokio::test]
async fn a_restart_continues_after_the_newest_progress_and_reads_no_bucket_twice() {
    let collector = Collector::new(WIDTH);
    let buckets = [9, 8, 7, 6, 5].map(|age| collector.bucket(age));
    for bucket in buckets {
        collector.put(bucket, "web", 1);
    }
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(buckets[0]).await;
    run_until(config(&address), &log, log.until_progress(buckets[2])).await;
    run_until(config(&address), &log, log.until_progress(buckets[4] + WIDTH)).await;
    let read: Vec<_> = flows(&log.entries(), Purpose::Report).into_iter().map(|(bucket, ..)| bucket).collect();
    assert_eq!(read, buckets);
}

#[tokio::test]
async fn what_expired_during_an_outage_becomes_a_gap() {
    let collector = Collector::new(WIDTH);
    let recent = collector.bucket(4);
    collector.put(recent, "web", 1);
    let address = format!("http://{}", collector.serve().await);
    // Three hours: beyond the hour that is looked at first.
    let stopped = collector.bucket(720);
    let log = log_up_to(stopped).await;
    run_until(config(&address), &log, log.until_progress(recent + WIDTH)).await;

    let entries = log.entries();
    let Entry::Gap(unseen) = &entries[1] else { panic!("the gaps come first: {:?}", entries[1]) };
    let (before, start) = (EventTime::from_secs(stopped - WIDTH), EventTime::from_secs(stopped));
    assert_eq!((unseen.reason.as_str(), unseen.span), ("collector_forgot", Span::new(before, start)));
    let Entry::Gap(gap) = &entries[2] else { panic!("the gaps come first: {:?}", entries[2]) };
    assert_eq!((gap.reason.as_str(), gap.span.start), ("collector_forgot", start));
    assert_eq!(entries[3], progress(gap.span.end.secs()));
    assert_eq!(flows(&entries, Purpose::Report), [(recent, "web".to_owned(), 1)]);
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_read_in_pages_that_start_over_when_the_totals_change() {
    let collector = Collector::new(WIDTH);
    let bucket = collector.bucket(4);
    for i in 0..25 {
        collector.put(bucket, &format!("pod-{i:02}"), i);
    }
    let mut late = Some("aaa-first-by-name");
    collector.state().script = Some(Box::new(move |request, state| {
        // A flow is added between the first page and the second.
        if request.page == 1
            && let Some(name) = late.take()
        {
            state.buckets.entry(bucket).or_default().insert(name.to_owned(), 1);
        }
    }));
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(bucket).await;
    // About 30 bytes per flow: ten fit, 25 do not.
    let small = Config { max_message: ByteSize(400), page_size: 10, ..config(&address) };
    run_until(small, &log, log.until_progress(bucket + WIDTH)).await;

    let read = flows(&log.entries(), Purpose::Report);
    let mut names: Vec<_> = read.iter().map(|(_, name, _)| name.as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), 26);
    assert_eq!(names[0], "aaa-first-by-name");
    let state = collector.state();
    let paged = state.requests.iter().filter(|r| r.page_size == 10 && r.start_time_lt == bucket + WIDTH);
    assert_eq!(paged.map(|r| r.page).collect::<Vec<_>>(), [0, 1, 0, 1, 2]);
}

#[tokio::test]
async fn a_later_look_logs_what_came_late_and_what_a_restart_lost() {
    let collector = Collector::new(WIDTH);
    let (grown, shrunk, stop) = (collector.bucket(31), collector.bucket(30), collector.bucket(20));
    collector.put(grown, "web", 5);
    collector.put(shrunk, "web", 5);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(grown).await;
    run_until(config(&address), &log, log.until_progress(stop)).await;

    collector.put(grown, "web", 8);
    collector.put(grown, "late", 2);
    collector.state().buckets.remove(&shrunk);
    // Time passes for the collector alone: the buckets reach the age of their last look.
    collector.state().skew = 191 * WIDTH;
    let newest = now() / WIDTH * WIDTH + 190 * WIDTH;
    collector.put(newest - WIDTH, "clock", 1);
    let corrected = |entries: &[Entry]| entries.iter().any(|e| matches!(e, Entry::Gap(_)));
    run_until(config(&address), &log, log.until(corrected)).await;

    let entries = log.entries();
    let corrections = flows(&entries, Purpose::Correction);
    assert_eq!(corrections.len(), 2);
    assert!(corrections.contains(&(grown, "web".to_owned(), 3)), "{corrections:?}");
    assert!(corrections.contains(&(grown, "late".to_owned(), 2)), "{corrections:?}");
    let Some(Entry::Gap(gap)) = entries.iter().find(|e| matches!(e, Entry::Gap(_))) else { unreachable!() };
    assert_eq!((gap.reason.as_str(), gap.span.start), ("collector_restarted", EventTime::from_secs(shrunk)));
}

#[tokio::test]
async fn a_later_look_that_differs_from_what_has_left_the_log_is_a_gap() {
    let collector = Collector::new(WIDTH);
    let (grown, same, stop) = (collector.bucket(31), collector.bucket(30), collector.bucket(20));
    collector.put(grown, "web", 5);
    collector.put(same, "web", 5);
    let address = format!("http://{}", collector.serve().await);
    let log = MemoryLog::forgetful();
    log.append(vec![progress(grown)]).await.expect("memory");
    run_until(config(&address), &log, log.until_progress(stop)).await;

    collector.put(grown, "web", 8);
    // Time passes for the collector alone: the buckets reach the age of their last look.
    collector.state().skew = 191 * WIDTH;
    let newest = now() / WIDTH * WIDTH + 190 * WIDTH;
    collector.put(newest - WIDTH, "clock", 1);
    let told = |entries: &[Entry]| entries.iter().any(|e| matches!(e, Entry::Gap(_)));
    run_until(config(&address), &log, log.until(told)).await;

    let entries = log.entries();
    let gaps: Vec<_> = entries.iter().filter_map(|e| if let Entry::Gap(gap) = e { Some(gap) } else { None }).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].reason.as_str(), gaps[0].span.start), ("not_comparable", EventTime::from_secs(grown)));
    assert_eq!(flows(&entries, Purpose::Correction), []);
}

#[tokio::test]
async fn a_second_look_that_a_restart_came_before_is_made_at_once_and_only_once() {
    let collector = Collector::new(1);
    let (grown, stop) = (collector.bucket(10), collector.bucket(5));
    collector.put(grown, "web", 5);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(grown).await;
    run_until(config(&address), &log, log.until_progress(stop)).await;

    // The bucket is beyond its first look by now, and far from its last one.
    collector.put(grown, "web", 8);
    collector.state().skew = 60;
    collector.put(now() + 58, "clock", 1);
    let corrected = |entries: &[Entry]| !flows(entries, Purpose::Correction).is_empty();
    run_until(config(&address), &log, log.until(corrected)).await;
    assert_eq!(flows(&log.entries(), Purpose::Correction), [(grown, "web".to_owned(), 3)]);

    collector.state().requests.clear();
    // Looks that are due are made between two sweeps.
    let next = *marks(&log.entries()).last().expect("marks") + 3;
    run_until(config(&address), &log, log.until_progress(next)).await;
    let looks = collector.state().requests.iter().filter(|r| r.start_time_gte == grown && r.start_time_lt > 0).count();
    assert_eq!(looks, 0, "the log says that the look was made");
}

/// What happens at the first request for `bucket`: an hour and a quarter passes for the collector
/// alone, as it does for us when this machine is suspended, and it has forgotten all it had.
fn an_hour_passes_at(collector: &Collector, bucket: i64) {
    let mut asked = false;
    collector.state().script = Some(Box::new(move |request, state| {
        let is_first = request.start_time_gte == bucket && request.start_time_lt == bucket + WIDTH && !asked;
        if is_first {
            asked = true;
            state.skew = 300 * WIDTH;
            state.buckets.clear();
        }
    }));
}

fn gap_reasons(entries: &[Entry]) -> Vec<&str> {
    entries.iter().filter_map(|e| if let Entry::Gap(gap) = e { Some(gap.reason.as_str()) } else { None }).collect()
}

#[tokio::test]
async fn a_bucket_that_expired_before_a_later_look_is_no_restart() {
    let collector = Collector::new(WIDTH);
    let (old, stop) = (collector.bucket(20), collector.bucket(15));
    collector.put(old, "web", 5);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(old).await;
    run_until(config(&address), &log, log.until_progress(stop)).await;

    // The first look is due, and the collector forgets the bucket before it answers.
    collector.state().skew = 10 * WIDTH;
    collector.put(now() / WIDTH * WIDTH + 9 * WIDTH, "clock", 1);
    an_hour_passes_at(&collector, old);
    let forgot = |entries: &[Entry]| gap_reasons(entries).contains(&"collector_forgot");
    run_until(config(&address), &log, log.until(forgot)).await;
    let entries = log.entries();
    assert_eq!(gap_reasons(&entries), ["collector_forgot"]);
    let Some(Entry::Gap(gap)) = entries.iter().find(|e| matches!(e, Entry::Gap(_))) else { unreachable!() };
    assert_eq!(gap.span.start, EventTime::from_secs(old), "what came late to it is missing");
}

#[tokio::test]
async fn a_bucket_that_expired_before_its_first_reading_is_a_gap_and_not_empty() {
    let collector = Collector::new(WIDTH);
    let (read, unread) = (collector.bucket(31), collector.bucket(30));
    collector.put(read, "web", 5);
    collector.put(unread, "web", 5);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(read).await;
    an_hour_passes_at(&collector, unread);
    run_until(config(&address), &log, log.until_progress(unread + 60 * WIDTH)).await;

    let entries = log.entries();
    assert_eq!(flows(&entries, Purpose::Report), [(read, "web".to_owned(), 5)]);
    assert!(gap_reasons(&entries).iter().all(|reason| *reason == "collector_forgot"));
    let starts_there = |e: &Entry| matches!(e, Entry::Gap(gap) if gap.span.start == EventTime::from_secs(unread));
    assert!(entries.iter().any(starts_there), "{:?}", gap_reasons(&entries));
}

#[tokio::test]
async fn buckets_that_a_restarted_collector_lost_before_they_were_read_are_gaps() {
    let collector = Collector::new(WIDTH);
    let (read, lost, cut, whole) = (collector.bucket(9), collector.bucket(8), collector.bucket(7), collector.bucket(6));
    collector.put(read, "web", 1);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(read).await;
    // Nothing after the first bucket has ended for this collector yet.
    collector.state().skew = -8 * WIDTH;
    run_until(config(&address), &log, log.until_progress(lost)).await;

    collector.state().skew = 0;
    collector.state().buckets.clear();
    collector.put(cut, "web", 1);
    collector.put(whole, "web", 1);
    run_until(config(&address), &log, log.until_progress(whole + WIDTH)).await;
    let entries = log.entries();
    let gaps = entries.iter().filter_map(|e| if let Entry::Gap(gap) = e { Some(gap) } else { None });
    let gaps: Vec<_> = gaps.map(|gap| (gap.reason.as_str(), gap.span.start.secs())).collect();
    assert_eq!(gaps, [("collector_restarted", lost), ("collector_restarted", cut)]);
}

#[tokio::test]
async fn a_new_look_at_the_clock_asks_for_nothing_else() {
    let collector = Collector::new(5);
    collector.put(collector.bucket(2), "web", 1);
    let address = format!("http://{}", collector.serve().await);
    let asked = |what: fn(&FlowListRequest) -> bool| collector.state().requests.iter().filter(|r| what(r)).count();
    let looks = || asked(|r| r.start_time_gte == -120);
    let looked_again = async {
        while looks() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    run_until(config(&address), &MemoryLog::default(), looked_again).await;
    // Ranges shorter than a bucket find out its width, once.
    assert_eq!(asked(|r| r.start_time_lt == r.start_time_gte + 1), 1);
}

#[tokio::test]
async fn the_width_is_the_collectors_and_a_skewed_clock_is_noticed() {
    let collector = Collector::new(5);
    let (first, second) = (collector.bucket(40), collector.bucket(39));
    // One flow spans two buckets: its interval alone would suggest 10 s.
    collector.put(first, "web", 1);
    collector.put(second, "web", 1);
    let address = format!("http://{}", collector.serve().await);
    let found = source(config(&address)).check().await.expect("reachable");
    assert!(found.contains("buckets of 5 s") && found.contains("clock agrees"), "{found}");

    collector.state().whole_buckets = false;
    let found = source(config(&address)).check().await.expect("reachable");
    assert!(found.contains("buckets of 5 s"), "{found}");

    collector.state().skew = -100;
    let found = source(config(&address)).check().await.expect("reachable");
    assert!(found.contains("differs from ours by -1"), "{found}");
}

#[tokio::test]
async fn what_moves_is_counted() {
    let collector = Collector::new(WIDTH);
    let bucket = collector.bucket(4);
    collector.put(bucket, "web", 1);
    collector.put(bucket, "db", 1);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(bucket).await;
    let mut registry = Registry::default();
    let mut source = GoldmaneSource::new(config(&address), &mut registry).expect("a valid configuration");
    tokio::select! {
        result = source.run(&log) => panic!("the source ended: {result:?}"),
        () = log.until_progress(bucket + 2 * WIDTH) => {}
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes everything");
    let counted = ["flows_total 2", "buckets_swept_total ", "bucket_width_seconds 15.0", "read_bytes_total "];
    for line in counted.map(|line| format!("goldmane_{line}")) {
        assert!(text.lines().any(|l| l.starts_with(&line) && !l.ends_with(" 0")), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_collector_that_came_back_with_another_width_is_read_in_that_width() {
    let collector = Collector::new(WIDTH);
    let bucket = collector.bucket(4);
    collector.put(bucket, "web", 1);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(bucket - WIDTH).await;
    run_until(config(&address), &log, log.until_progress(bucket)).await;
    collector.state().width = 3;
    let fresh = collector.bucket(3);
    collector.put(fresh, "web", 1);
    collector.state().buckets.remove(&bucket);
    let narrow = |entries: &[Entry]| marks(entries).windows(2).any(|pair| pair[1] - pair[0] == 3);
    run_until(config(&address), &log, log.until(narrow)).await;
}

#[tokio::test]
async fn latest_begins_with_the_bucket_that_is_filling() {
    let collector = Collector::new(1);
    let old = collector.bucket(30);
    collector.put(old, "old", 1);
    let address = format!("http://{}", collector.serve().await);
    let log = MemoryLog::default();
    let latest = Config { begin: Begin::Latest, ..config(&address) };
    run_until(latest, &log, log.until(|entries| !entries.is_empty())).await;
    assert!(marks(&log.entries())[0] > old + 20);
    assert_eq!(flows(&log.entries(), Purpose::Report), []);
}

#[tokio::test]
async fn a_collector_that_is_away_is_an_outside_fault_worth_retrying() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = source(config(&address)).run(&MemoryLog::default()).await.expect_err("nobody listens");
    assert_eq!((error.domain, error.retry), (catchment_core::Domain::External, catchment_core::Retry::Backoff));
    assert!(error.message.contains(&address), "{}", error.message);
}

#[tokio::test]
async fn looks_that_starve_and_looks_that_lapse_are_shown() {
    let collector = Collector::new(WIDTH);
    let (first, stop) = (collector.bucket(20), collector.bucket(15));
    collector.put(first, "web", 5);
    let address = format!("http://{}", collector.serve().await);
    let log = log_up_to(first).await;
    run_until(config(&address), &log, log.until_progress(stop)).await;

    // The first look at these buckets is overdue by now, while newer ones are read first.
    collector.state().skew = 10 * WIDTH;
    collector.put(now() / WIDTH * WIDTH + 9 * WIDTH, "clock", 1);
    let mut registry = Registry::default();
    let mut source = GoldmaneSource::new(config(&address), &mut registry).expect("a valid configuration");
    let page = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes everything");
        text
    };
    let value = |name: &str| -> f64 {
        let page = page();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("goldmane_{name} ")));
        line.expect("registered").parse().expect("a number")
    };
    let shown = async {
        while value("overdue_looks") == 0.0 || value("oldest_overdue_look_seconds") == 0.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        collector.state().skew = 300 * WIDTH;
        collector.state().buckets.clear();
        while value("lapsed_looks_total") == 0.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        result = source.run(&log) => panic!("the source ended: {result:?}"),
        () = shown => {}
        () = tokio::time::sleep(Duration::from_mins(2)) => panic!("not shown:\n{}", page()),
    }
}
