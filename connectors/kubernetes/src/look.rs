//! One look at a cluster: what there is of some kinds now, and what of it is hidden.

use std::collections::BTreeMap;
use std::sync::Arc;

use catchment_core::Result;
use catchment_core::knowledge::{CALICO, Kind, Object};

use crate::api::Api;
use crate::catalog::{Catalog, Place};
use crate::fault::Fault;
use crate::tiers::{self, Tiers};
use crate::watch::{Cluster, unreachable};

/// How often a list is begun that the server forgets before its end.
const LISTS: usize = 3;

/// What one look showed. A kind that the cluster does not have has no objects, which hides nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// The objects, kind by kind in the order of [`Kind::ALL`].
    pub objects: Vec<Object>,
    /// Kinds of which not everything is among the objects, and why.
    pub hidden: BTreeMap<Kind, Arc<str>>,
}

impl Cluster {
    /// Lists `kinds` once. A kind that may not be read is hidden; a server that cannot be reached or answers with an error
    /// is an external fault.
    pub async fn look(&self, kinds: &[Kind]) -> Result<Look> {
        let api = self.api();
        let catalog = Catalog::new(api.clone(), self.look_again());
        let (mut look, mut tiers) = (Look::default(), Tiers::Hidden);
        for &kind in Kind::ALL.iter().filter(|kind| kinds.contains(kind)) {
            let read = look.read(api, &catalog, kind, &tiers).await;
            read.map_err(|fault| unreachable(api.address(), &fault))?;
            if kind == Kind::Tier && !look.hidden.contains_key(&kind) {
                let names = look.objects.iter().filter(|object| object.kind() == kind).map(|tier| tier.key().name);
                tiers = Tiers::Listed(names.collect());
            }
        }
        Ok(look)
    }
}

impl Look {
    async fn read(&mut self, api: &Api, catalog: &Catalog, kind: Kind, tiers: &Tiers) -> Result<(), Fault> {
        let Some(place) = catalog.find(kind).await? else { return Ok(()) };
        match list(api, &place).await {
            Ok((objects, unreadable)) => {
                self.objects.extend(objects);
                self.hidden.extend(unreadable.map(|why| (kind, why)));
            }
            Err(Fault::NotServed) => return Ok(()),
            Err(Fault::Denied(why)) => {
                self.hidden.insert(kind, why);
                return Ok(());
            }
            Err(fault) => return Err(fault),
        }
        let may_hide = tiers::parted_by_tier(kind) && place.group == CALICO;
        if may_hide && catalog.is_aggregated(&place).await? {
            self.hidden.extend(tiers::hidden(api, kind, tiers).await?.map(|why| (kind, why)));
        }
        Ok(())
    }
}

/// The objects of one place, and why not all can be read, if so.
async fn list(api: &Api, place: &Place) -> Result<(Vec<Object>, Option<Arc<str>>), Fault> {
    let mut begun = 0;
    loop {
        begun += 1;
        match list_once(api, place).await {
            Err(Fault::Gone) if begun < LISTS => {}
            listed => return listed,
        }
    }
}

async fn list_once(api: &Api, place: &Place) -> Result<(Vec<Object>, Option<Arc<str>>), Fault> {
    let (mut objects, mut unreadable, mut next) = (Vec::new(), None, String::new());
    loop {
        let page = api.page(&place.path(), &next).await?;
        for item in page.items.iter().flatten() {
            match Object::of_kind(place.kind, place.group, item.get()) {
                Ok(object) => objects.push(object),
                Err(error) => unreadable = Some(format!("an object is left out: {error}").into()),
            }
        }
        next = page.metadata.next;
        if next.is_empty() {
            return Ok((objects, unreadable));
        }
    }
}
