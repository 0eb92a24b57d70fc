//! Reading whole buckets, and finding out about the collector's clock and buckets.

use bytes::Bytes;
use catchment_core::{Error, EventTime, Result, Span};
use catchment_schemas::goldmane::{FlowListRequest, ListMetadata, SortBy, SortOption};
use catchment_schemas::wire::FlowView;
use prost::Message as _;
use tokio::time::Instant;

use crate::client::{Client, ListError};
use crate::clock::{SKEW_LIMIT_SECS, ServerClock, wall_clock};
use crate::reconcile::each_flow;

/// How often the pages of one bucket may change under our hands before we leave it for later.
const PAGING_ATTEMPTS: usize = 5;
/// How far behind the local clock a collector may be and still be placed.
const LADDER_SECS: [i64; 6] = [SKEW_LIMIT_SECS, 30, 120, 600, 1800, 3600];
/// Flows looked at to find the newest bucket.
const PROBE_ROWS: i64 = 1000;

/// Reads buckets; remembers that the collector's answers outgrew the limit.
#[derive(Debug)]
pub(crate) struct Reader {
    page_size: i64,
    paged: bool,
}

impl Reader {
    pub(crate) fn new(page_size: u32) -> Self {
        Self { page_size: i64::from(page_size), paged: false }
    }

    /// Enough flows to find the newest bucket, and no more than an answer may hold.
    pub(crate) fn probe_rows(&self) -> i64 {
        self.page_size.min(PROBE_ROWS)
    }

    /// All flows of the bucket: one answer, or its pages.
    pub(crate) async fn bucket(&mut self, client: &mut Client, bucket: Span, urgent: bool) -> Result<Vec<Bytes>> {
        if !self.paged {
            match client.list(by_name(bucket), urgent).await {
                Ok(whole) => return Ok(vec![whole]),
                Err(ListError::TooLarge) => self.turn_to_pages(),
                Err(error) => return Err(error.into()),
            }
        }
        for _ in 0..PAGING_ATTEMPTS {
            if let Some(pages) = self.pages(client, bucket, urgent).await? {
                return Ok(pages);
            }
        }
        Err(Error::external(format!("bucket {} keeps changing while its pages are read", bucket.start)))
    }

    fn turn_to_pages(&mut self) {
        tracing::warn!(
            page_size = self.page_size,
            "a bucket exceeds max_message; buckets are read in pages from now on"
        );
        self.paged = true;
    }

    /// `None` if a flow was added between two pages: names then shift from page to page.
    async fn pages(&self, client: &mut Client, bucket: Span, urgent: bool) -> Result<Option<Vec<Bytes>>> {
        let mut pages = Vec::new();
        let mut totals = None;
        loop {
            let request = FlowListRequest { page: pages.len() as i64, page_size: self.page_size, ..by_name(bucket) };
            let page = client.list(request, urgent).await?;
            let meta = metadata(&page)?;
            if *totals.get_or_insert(meta) != meta {
                return Ok(None);
            }
            pages.push(page);
            if pages.len() as i64 >= meta.total_pages {
                return Ok(Some(pages));
            }
        }
    }
}

/// What a look at a collector's clock shows.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    /// Its clock; `None` while it refuses every moment we can name.
    pub(crate) clock: Option<ServerClock>,
    /// The clock's bound minus the local clock, in seconds, where it is beyond the limit.
    pub(crate) skew: i64,
    /// The intervals of its newest flows.
    newest: Vec<Span>,
}

/// Looks at the collector's clock with a few small requests.
pub(crate) async fn sight(client: &mut Client, probe_rows: i64) -> Result<Sighting> {
    let accepted = accepted_moment(client).await?;
    let newest = newest_rows(client, probe_rows).await?;
    let ended = newest.iter().map(|row| row.end).max();
    let (wall, seen) = (wall_clock(), Instant::now());
    let bound = accepted.into_iter().chain(ended).max();
    let behind = bound.filter(|b| *b < wall.plus(-2 * SKEW_LIMIT_SECS * 1_000_000));
    let ahead = bound.filter(|b| *b > wall.plus(SKEW_LIMIT_SECS * 1_000_000));
    let skew = behind.or(ahead).map_or(0, |b| b.secs() - wall.secs());
    Ok(Sighting { clock: bound.map(|b| ServerClock::new(b, seen)), skew, newest })
}

/// The latest moment at or before the local time that the collector accepts as past.
async fn accepted_moment(client: &mut Client) -> Result<Option<EventTime>> {
    for behind in LADDER_SECS {
        let moment = EventTime::from_secs(wall_clock().plus(-behind * 1_000_000).secs());
        if has_passed(client, moment).await? {
            return Ok(Some(moment));
        }
    }
    Ok(None)
}

/// Whether the collector's clock has passed `moment`, in whole seconds: it refuses a range that starts
/// in its future.
pub(crate) async fn has_passed(client: &mut Client, moment: EventTime) -> Result<bool> {
    let request = FlowListRequest { start_time_gte: moment.secs(), page_size: 1, ..FlowListRequest::default() };
    match client.list(request, true).await {
        // A page of one flow that is too large says nothing about the range: it was accepted.
        Ok(_) | Err(ListError::TooLarge) => Ok(true),
        Err(ListError::Refused(status)) => {
            tracing::debug!(%moment, %status, "collector refused a start");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// The newest flows with their buckets, from ever longer ranges: short ones are cheap to answer.
async fn newest_rows(client: &mut Client, probe_rows: i64) -> Result<Vec<Span>> {
    for range in [-120, -600, 0] {
        let request = FlowListRequest { start_time_gte: range, page_size: probe_rows, ..FlowListRequest::default() };
        let rows = rows(&[client.list(request, false).await?])?;
        if !rows.is_empty() {
            return Ok(rows);
        }
    }
    Ok(Vec::new())
}

/// Width of the collector's buckets in microseconds; `None` while it has no flow.
///
/// It is that of the one bucket that the newest flow begins with. A flow's interval spans several
/// buckets where it was busy in several, so ranges of 1, 2, 4 ... seconds are asked for: whether or
/// not a bucket cut short by the range's end counts as inside, one of them holds exactly one bucket.
pub(crate) async fn width(client: &mut Client, probe_rows: i64, sighting: &Sighting) -> Result<Option<i64>> {
    let Some(mut bucket) = sighting.newest.iter().copied().max_by_key(|row| (row.start, -row.micros())) else {
        return Ok(None);
    };
    let mut length = 1_000_000;
    while length < bucket.micros() {
        let range = Span::new(bucket.start, bucket.start.plus(length));
        let request = FlowListRequest { page_size: probe_rows, ..by_name(range) };
        let rows = rows(&[client.list(request, false).await?])?;
        bucket = rows.into_iter().chain([bucket]).min_by_key(|row| row.micros()).unwrap_or(bucket);
        length *= 2;
    }
    if bucket.micros() <= 0 || bucket.start.align(bucket.micros()) != bucket.start {
        return Err(Error::external(format!(
            "the collector's bucket {} to {} is not aligned to its width; cannot tell its buckets apart",
            bucket.start, bucket.end
        )));
    }
    Ok(Some(bucket.micros()))
}

/// Refuses flows that are not of exactly this bucket: the collector's width has changed.
pub(crate) fn verify(pages: &[Bytes], bucket: Span) -> Result<()> {
    let strange = rows(pages)?.into_iter().find(|row| *row != bucket);
    strange.map_or(Ok(()), |row| {
        Err(Error::external(format!(
            "asked for the bucket {} to {}, the collector answered with {} to {}; its width has changed",
            bucket.start, bucket.end, row.start, row.end
        )))
    })
}

fn rows(pages: &[Bytes]) -> Result<Vec<Span>> {
    let span = |v: &FlowView<'_>| Span::new(EventTime::from_secs(v.start_time), EventTime::from_secs(v.end_time));
    let mut rows = Vec::new();
    each_flow(pages, |_, view| rows.push(span(&view)))?;
    Ok(rows)
}

/// Sorted by name, because sorting by time shuffles ties anew for every page.
fn by_name(span: Span) -> FlowListRequest {
    FlowListRequest {
        start_time_gte: span.start.secs(),
        start_time_lt: span.end.secs(),
        sort_by: vec![SortOption { sort_by: SortBy::SourceName.into() }],
        ..FlowListRequest::default()
    }
}

fn metadata(page: &Bytes) -> Result<ListMetadata> {
    /// The metadata alone; the flows are skipped as an unknown field.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Head {
        #[prost(message, optional, tag = "1")]
        meta: Option<ListMetadata>,
    }
    let head = Head::decode(page.as_ref());
    let head = head.map_err(|e| Error::external("the collector's answer is no list of flows").caused_by(e))?;
    Ok(head.meta.unwrap_or_default())
}
