//! The collector's gRPC services over the simulated cluster.

use std::pin::Pin;
use std::sync::Arc;

use catchment_schemas::goldmane::flow_collector_server::FlowCollector;
use catchment_schemas::goldmane::flows_server::Flows;
use catchment_schemas::goldmane::statistics_server::Statistics;
use catchment_schemas::goldmane::{
    Filter, FilterHintsRequest, FilterHintsResult, FlowListRequest, FlowListResult, FlowReceipt, FlowResult,
    FlowStreamRequest, FlowUpdate, StatisticsRequest, StatisticsResult,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::query::first_unsent;
use crate::ring::{BUCKET_SECS, bucket_of};
use crate::running::Shared;

/// Streams of flows that may be open at a time.
const STREAMS: usize = 100;
/// Flows that wait for a stream's reader. A slow reader delays its own stream only; the real
/// collector can stand still as a whole, which would help nobody's tests.
const STREAM_QUEUE: usize = 484;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All three services; cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    shared: Shared,
    stopped: watch::Receiver<()>,
    streams: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(shared: Shared, stopped: watch::Receiver<()>) -> Self {
        Self { shared, stopped, streams: Arc::new(Semaphore::new(STREAMS)) }
    }
}

#[tonic::async_trait]
impl Flows for Service {
    type StreamStream = Replies<FlowResult>;

    async fn list(&self, request: Request<FlowListRequest>) -> Result<Response<FlowListResult>, Status> {
        let cluster = self.shared.at_now();
        let now = cluster.now().secs();
        cluster.ring.list(request.get_ref(), now).map(Response::new).map_err(Status::unknown)
    }

    async fn stream(&self, request: Request<FlowStreamRequest>) -> Result<Response<Self::StreamStream>, Status> {
        let full = |_| Status::resource_exhausted("too many streams are open");
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(full)?;
        let (out, replies) = mpsc::channel(STREAM_QUEUE);
        let feed = self.feed(request.into_inner(), out);
        tokio::spawn(feed.run(permit, self.stopped.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn filter_hints(&self, request: Request<FilterHintsRequest>) -> Result<Response<FilterHintsResult>, Status> {
        let cluster = self.shared.at_now();
        let now = cluster.now().secs();
        cluster.ring.filter_hints(request.get_ref(), now).map(Response::new).map_err(Status::unknown)
    }
}

impl Service {
    /// Where a stream begins: at the next bucket to be sent, or in history.
    fn feed(&self, request: FlowStreamRequest, out: mpsc::Sender<Result<FlowResult, Status>>) -> Feed {
        let cluster = self.shared.at_now();
        let now = cluster.now().secs();
        let unsent = first_unsent(now);
        let asked = if request.start_time_gte < 0 { now + request.start_time_gte } else { request.start_time_gte };
        // What is older than history gives no history at all, and no error.
        let next = if asked >= cluster.ring.beginning() { unsent.min(bucket_of(asked)) } else { unsent };
        Feed { shared: self.shared.clone(), filter: request.filter, next, out }
    }
}

/// One open stream: every bucket once, 15 s after its end. What comes later is never sent.
struct Feed {
    shared: Shared,
    filter: Option<Filter>,
    next: i64,
    out: mpsc::Sender<Result<FlowResult, Status>>,
}

impl Feed {
    /// Until the reader goes or the server stops. The permit counts the stream while it is open.
    async fn run(mut self, _permit: OwnedSemaphorePermit, mut stopped: watch::Receiver<()>) {
        let gone = self.out.clone();
        tokio::select! {
            () = self.send_buckets() => {}
            () = gone.closed() => {}
            _ = stopped.changed() => {}
        }
    }

    async fn send_buckets(&mut self) {
        loop {
            self.shared.until(self.next + 2 * BUCKET_SECS).await;
            let flows = self.shared.at_now().ring.bucket(self.next, self.filter.as_ref());
            self.next += BUCKET_SECS;
            for flow in flows {
                if self.out.send(Ok(flow)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Statistics for Service {
    type ListStream = Replies<StatisticsResult>;

    async fn list(&self, _: Request<StatisticsRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("the simulated collector keeps no statistics; list the flows instead"))
    }
}

#[tonic::async_trait]
impl FlowCollector for Service {
    type ConnectStream = Replies<FlowReceipt>;

    async fn connect(&self, request: Request<Streaming<FlowUpdate>>) -> Result<Response<Self::ConnectStream>, Status> {
        let peer = request.remote_addr().map_or_else(|| "unknown".to_owned(), |a| a.to_string());
        let (out, receipts) = mpsc::channel(1);
        tokio::spawn(receive(self.shared.clone(), request.into_inner(), peer, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(receipts))))
    }
}

/// A receipt means "read", not "kept".
async fn receive(
    shared: Shared,
    mut updates: Streaming<FlowUpdate>,
    peer: String,
    receipts: mpsc::Sender<Result<FlowReceipt, Status>>,
) {
    while let Ok(Some(update)) = updates.message().await {
        if let Some(flow) = update.flow {
            let mut cluster = shared.at_now();
            let now = cluster.now().secs();
            cluster.ring.receive(flow, &peer, now);
        }
        if receipts.send(Ok(FlowReceipt {})).await.is_err() {
            return;
        }
    }
}
