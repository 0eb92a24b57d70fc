//! A simulation that runs: the clock, the cluster behind a lock, and the server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use catchment_core::{Error, EventTime, Period, Result};
use catchment_schemas::goldmane::flow_collector_server::FlowCollectorServer;
use catchment_schemas::goldmane::flows_server::FlowsServer;
use catchment_schemas::goldmane::statistics_server::StatisticsServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::cluster::Cluster;
use crate::knowledge::Known;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::scenarios;
use crate::server::Service;

/// How often the cluster is moved on where nobody asks; a question moves it on by itself.
const TICK: Duration = Duration::from_millis(50);

/// Event time that runs `speed` times as fast as the wall's.
#[derive(Clone, Debug)]
struct Clock {
    start: EventTime,
    since: Instant,
    speed: f64,
    /// Event time that was skipped, in microseconds.
    skipped: Arc<AtomicI64>,
}

impl Clock {
    fn now(&self) -> EventTime {
        let passed = (self.since.elapsed().as_secs_f64() * self.speed * 1e6) as i64;
        self.start.plus(passed).plus(self.skipped.load(Ordering::Relaxed))
    }

    /// The wall time until event time is `at`.
    fn until(&self, at: EventTime) -> Duration {
        let micros = at.0.saturating_sub(self.now().0).max(0) as f64 / self.speed;
        // A century is as good as never, and keeps the sum within what a timer takes.
        Duration::from_secs_f64((micros / 1e6).min(3e9))
    }

    /// Waits until event time is `at`, however it gets there.
    async fn reach(&self, at: EventTime) {
        while self.now() < at {
            // Time may be skipped while we sleep.
            tokio::time::sleep(self.until(at).min(TICK)).await;
        }
    }
}

/// The cluster, shared by everyone who asks.
#[derive(Clone)]
pub(crate) struct Shared {
    clock: Clock,
    cluster: Arc<Mutex<Cluster>>,
}

impl Shared {
    /// The cluster as it is now.
    pub(crate) fn at_now(&self) -> MutexGuard<'_, Cluster> {
        let mut cluster = self.lock();
        cluster.advance(self.clock.now());
        cluster
    }

    /// Waits until the simulated clock shows `secs`.
    pub(crate) async fn until(&self, secs: i64) {
        self.clock.reach(EventTime::from_secs(secs)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().expect("nothing panics while it holds the cluster")
    }
}

/// A simulation that runs until it is shut down or dropped.
pub struct Running {
    address: SocketAddr,
    shared: Shared,
    end: EventTime,
    /// Dropping it ends the server and every open stream.
    stop: watch::Sender<()>,
    ticker: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Running {
    /// Where the collector listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What the simulated clock shows.
    pub fn now(&self) -> EventTime {
        self.shared.clock.now()
    }

    /// Moves the simulated clock on at once; the nodes have reported all the while.
    pub fn skip(&self, period: Period) {
        self.shared.clock.skipped.fetch_add(period.micros(), Ordering::Relaxed);
        drop(self.shared.at_now());
    }

    /// Resolves when the nodes have fallen silent; never without a duration.
    ///
    /// Late reports may still be on their way to the collector for four minutes of event time.
    pub async fn finished(&self) {
        self.shared.clock.reach(self.end).await;
        drop(self.shared.at_now());
    }

    /// Stops everything and writes the end of the ledger.
    pub async fn shutdown(self) -> Result<()> {
        self.ticker.abort();
        self.stop.send_replace(());
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            let mut cluster = shared.lock();
            cluster.advance(shared.clock.now());
            cluster.finish()
        })
        .await
        .map_err(|e| Error::internal("the simulation broke off while it shut down").caused_by(e))?
    }
}

/// Makes the history and starts the collector; returns when it can be asked.
pub async fn serve(options: Options) -> Result<Running> {
    options.validate()?;
    let listener = TcpListener::bind(options.listen).await.map_err(|e| {
        Error::user(format!("cannot listen on {}; choose an address that is free", options.listen)).caused_by(e)
    })?;
    let address = listener.local_addr().map_err(|e| Error::internal("a listener has no address").caused_by(e))?;
    let (end, speed, start) = (options.end(), options.speed, options.start);
    let cluster = tokio::task::spawn_blocking(move || with_history(&options))
        .await
        .map_err(|e| Error::internal("the simulation broke off while it made its history").caused_by(e))??;
    let clock = Clock { start, since: Instant::now(), speed, skipped: Arc::default() };
    let shared = Shared { clock, cluster: Arc::new(Mutex::new(cluster)) };
    let (stop, stopped) = watch::channel(());
    tokio::spawn(listen(listener, Service::new(shared.clone(), stopped.clone()), stopped));
    let ticker = tokio::spawn(tick(shared.clone()));
    tracing::info!(%address, speed, %start, "simulated collector is ready");
    Ok(Running { address, shared, end, stop, ticker })
}

fn with_history(options: &Options) -> Result<Cluster> {
    let shape = options.shape()?;
    let world = shape.world();
    let script = scenarios::script(options, &shape, &world)?;
    if let Some(folder) = &options.knowledge {
        Known::of(&world, &script, options.first(), options.known_until()).write(folder)?;
    }
    if let Some(file) = &options.plants_truth {
        script.write_plants(file)?;
    }
    let ledger = options.truth.as_deref().map(Ledger::create).transpose()?;
    let mut cluster = Cluster::new(shape, script, options.first(), options.end(), ledger);
    cluster.advance(options.start);
    Ok(cluster)
}

async fn tick(shared: Shared) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        drop(shared.at_now());
    }
}

async fn listen(listener: TcpListener, service: Service, mut stopped: watch::Receiver<()>) {
    let served = Server::builder()
        .add_service(FlowsServer::new(service.clone()))
        .add_service(StatisticsServer::new(service.clone()))
        .add_service(FlowCollectorServer::new(service))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            // An error says that the sender is gone, which is a stop too.
            let _ = stopped.changed().await;
        })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "simulated collector stopped");
    }
}
