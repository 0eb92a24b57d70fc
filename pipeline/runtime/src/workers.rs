//! Shards in threads of their own, each behind a short queue.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use catchment_stages::{Closing, Job, KeyLimits, Shard, ShardClose, Workers};

/// Jobs that may wait for one worker; a job is a part of one log entry.
const QUEUED_JOBS: usize = 4;

enum Task {
    Fold(Job),
    Close(Closing, Sender<ShardClose>),
}

/// One thread a shard. Dropping it ends the threads once their queues are empty.
pub struct ThreadWorkers {
    queues: Vec<SyncSender<Task>>,
}

impl ThreadWorkers {
    /// Starts `count` workers for windows of `width` microseconds.
    pub fn start(count: usize, width: i64, limits: KeyLimits) -> std::io::Result<Self> {
        let start = |number| {
            let (queue, tasks) = sync_channel(QUEUED_JOBS);
            let work = move || work(Shard::new(width, limits), &tasks);
            thread::Builder::new().name(format!("fold-{number}")).spawn(work).map(|_| queue)
        };
        (0..count.max(1)).map(start).collect::<Result<_, _>>().map(|queues| Self { queues })
    }

    fn send(&self, worker: usize, task: Task) {
        self.queues[worker].send(task).expect("a worker ends only when its queue is dropped");
    }
}

fn work(mut shard: Shard, tasks: &Receiver<Task>) {
    for task in tasks {
        match task {
            Task::Fold(job) => shard.fold(&job),
            Task::Close(closing, reply) => {
                let _ = reply.send(shard.close(closing));
            }
        }
    }
}

impl Workers for ThreadWorkers {
    fn count(&self) -> usize {
        self.queues.len()
    }

    fn fold(&mut self, worker: usize, job: Job) {
        self.send(worker, Task::Fold(job));
    }

    fn close(&mut self, closing: Closing) -> Vec<ShardClose> {
        let ask = |worker| {
            let (reply, answer) = channel();
            self.send(worker, Task::Close(closing, reply));
            answer
        };
        let answers: Vec<_> = (0..self.count()).map(ask).collect();
        answers.iter().map(|answer| answer.recv().expect("a worker answers every close")).collect()
    }
}
