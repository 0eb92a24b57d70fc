//! Keeps one kind up to date, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use catchment_core::knowledge::CALICO;
use rand::RngExt as _;
use tokio::time::sleep;

use crate::api::Api;
use crate::catalog::{Catalog, Place};
use crate::fault::Fault;
use crate::feed::Feed;
use crate::line::Line;
use crate::tiers::{self, Tiers, TiersReceiver};

/// The first wait after an error; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Follows one kind from place to place.
pub(crate) struct Listener {
    pub(crate) api: Api,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) line: Line,
    pub(crate) look_again: Duration,
    pub(crate) tiers: TiersReceiver,
}

/// What a list was made with: where another one would show more, it is made again.
#[derive(Clone, PartialEq, Eq)]
struct View {
    tiers: Tiers,
    hidden: Option<Arc<str>>,
}

impl Listener {
    /// Runs until nobody wants the news any more.
    pub(crate) async fn run(mut self) {
        let (mut feed, mut view, mut failures) = (None, None, 0);
        loop {
            let result = self.attend(&mut feed, &mut view).await;
            if self.line.take_proof() {
                failures = 0;
            }
            if let Err(fault) = result {
                failures += 1;
                if self.suffer(fault, feed.as_mut(), failures).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Follows the kind at the best place until something ends.
    async fn attend(&mut self, feed: &mut Option<Feed>, view: &mut Option<View>) -> Result<(), Fault> {
        let Some(place) = self.catalog.find(self.line.kind).await? else {
            *feed = None;
            self.line.absent().await?;
            sleep(jittered(self.look_again)).await;
            return Ok(());
        };
        let feed = match feed {
            Some(feed) if feed.place == place => feed,
            feed => feed.insert(Feed::new(self.api.clone(), place)),
        };
        let before = std::mem::replace(view, self.view(&place).await?);
        if *view != before {
            feed.version = None;
        }
        self.line.hide(view.as_ref().and_then(|view| view.hidden.clone()));
        let turned = turned(&self.api, &self.catalog, place, &mut self.tiers, view.as_ref(), self.look_again);
        tokio::select! {
            result = feed.follow(&mut self.line) => result,
            () = turned => {
                feed.version = None;
                Ok(())
            }
        }
    }

    /// What a list made now would be made with; `None` where nothing is hidden ever.
    async fn view(&mut self, place: &Place) -> Result<Option<View>, Fault> {
        let may_hide = tiers::parted_by_tier(place.kind) && place.group == CALICO;
        if !may_hide || !self.catalog.is_aggregated(place).await? {
            return Ok(None);
        }
        let asked = self.tiers.wait_for(|tiers| *tiers != Tiers::Pending).await;
        let tiers = asked.map(|tiers| tiers.clone()).map_err(|_| Fault::Closed)?;
        let hidden = tiers::hidden(&self.api, place.kind, &tiers).await?;
        Ok(Some(View { tiers, hidden }))
    }

    /// Tells what is wrong, and waits until it is worth trying again.
    async fn suffer(&mut self, fault: Fault, feed: Option<&mut Feed>, failures: u32) -> Result<(), Fault> {
        let mut wait = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(16)).min(self.look_again);
        match fault {
            Fault::Closed => return Err(Fault::Closed),
            Fault::Gone => {
                if let Some(feed) = feed {
                    feed.version = None;
                }
                // Listing is the mend; only a server that forgets at once is given time.
                if failures == 1 {
                    return Ok(());
                }
            }
            Fault::NotServed => {
                if let Some(feed) = feed {
                    feed.version = None;
                    self.catalog.doubt(&feed.place).await;
                }
            }
            Fault::NotUnderstood(why) => match feed {
                Some(feed) if feed.streams && feed.version.is_none() => {
                    feed.streams = false;
                    return Ok(());
                }
                _ => self.line.stale(why).await?,
            },
            Fault::Denied(why) => {
                self.line.denied(why).await?;
                wait = self.look_again;
            }
            Fault::Failed(why) => self.line.stale(why).await?,
        }
        sleep(jittered(wait)).await;
        Ok(())
    }
}

/// Returns once another list would show more: at a better place, or of other tiers. Errors are left to who follows.
async fn turned(
    api: &Api,
    catalog: &Catalog,
    place: Place,
    tiers: &mut TiersReceiver,
    view: Option<&View>,
    look_again: Duration,
) {
    loop {
        tokio::select! {
            () = sleep(jittered(look_again)) => {}
            Ok(()) = tiers.changed(), if view.is_some() => {}
        }
        if !place.is_best() && catalog.find(place.kind).await.is_ok_and(|best| best != Some(place)) {
            return;
        }
        let Some(view) = view else { continue };
        let now = tiers.borrow_and_update().clone();
        if now == Tiers::Pending {
            continue;
        }
        let more = view.hidden.is_some()
            && tiers::hidden(api, place.kind, &now).await.is_ok_and(|hidden| hidden != view.hidden);
        if more || now != view.tiers {
            return;
        }
    }
}

/// Between half of `wait` and all of it: what failed together does not come back together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..1.0))
}
