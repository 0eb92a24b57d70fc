//! What the connector told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use catchment_core::knowledge::{Coverage, Key, Kind, News, Object};
use catchment_core::{EventTime, Period};
use catchment_kubernetes::{Cluster, Config};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::planter::Histories;

/// Longer than anything takes on a loaded machine.
const LONGEST_WAIT: Duration = Duration::from_secs(90);

/// A running connector, and all that it has told so far.
pub(crate) struct Watched {
    news: mpsc::Receiver<News>,
    registry: Registry,
    pub(crate) histories: Histories,
    pub(crate) coverage: BTreeMap<Kind, Vec<Coverage>>,
    last: EventTime,
    _run: tokio::task::JoinHandle<()>,
}

impl Watched {
    pub(crate) async fn start(kubeconfig: PathBuf) -> Self {
        let config = Config { kubeconfig: Some(kubeconfig), look_again: Period::secs(1), ..Config::default() };
        let mut registry = Registry::default();
        let cluster = Cluster::new(config, &mut registry).await.unwrap();
        let (sender, news) = mpsc::channel(64);
        let run = tokio::spawn(async move { cluster.run(sender).await });
        Self { news, registry, histories: Histories::new(), coverage: BTreeMap::new(), last: EventTime::MIN, _run: run }
    }

    /// Takes news until `done`.
    pub(crate) async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let came = self.comes(done).await;
        assert!(came, "{what} did not come; coverage: {:?}", self.coverage);
    }

    /// Takes news until every state that objects of `kind` were given has been told, and nothing else.
    pub(crate) async fn until_told(&mut self, kind: Kind, planted: &Histories) {
        let came = self.comes(|w| w.of(kind) == *planted).await;
        assert!(came, "planted and told differ: {}", first_difference(planted, &self.of(kind)));
    }

    /// Takes news until objects of `kind` are as they were planted last.
    pub(crate) async fn until_seen(&mut self, kind: Kind, planted: &Histories) {
        let (planted, newest_only) = (newest(planted), |w: &Self| newest(&w.of(kind)));
        let came = self.comes(|w| newest_only(w) == planted).await;
        assert!(came, "planted and seen differ: {}", first_difference(&planted, &newest_only(self)));
    }

    async fn comes(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        let wait = async {
            while !done(self) {
                let news = self.news.recv().await.expect("the connector runs for ever");
                self.take(news);
                // One look at all for whatever is there already.
                while let Ok(news) = self.news.try_recv() {
                    self.take(news);
                }
            }
        };
        tokio::time::timeout(LONGEST_WAIT, wait).await.is_ok()
    }

    fn take(&mut self, news: News) {
        let at = match news {
            News::Change(change) => {
                let history = self.histories.entry(change.key).or_default();
                assert_ne!(history.last(), Some(&change.state), "told twice");
                history.push(change.state);
                change.at
            }
            News::Coverage { kind, at, coverage } => {
                self.coverage.entry(kind).or_default().push(coverage);
                at
            }
        };
        assert!(self.last <= at, "time went back");
        self.last = at;
    }

    pub(crate) async fn until_synced(&mut self, kinds: &[Kind]) {
        self.until(&format!("{kinds:?} to be synced"), |w| kinds.iter().all(|&kind| w.is(kind, &Coverage::Synced)))
            .await;
    }

    pub(crate) fn is(&self, kind: Kind, coverage: &Coverage) -> bool {
        self.now(kind) == Some(coverage)
    }

    pub(crate) fn now(&self, kind: Kind) -> Option<&Coverage> {
        self.coverage.get(&kind).and_then(|all| all.last())
    }

    pub(crate) fn of(&self, kind: Kind) -> Histories {
        self.histories.iter().filter(|(key, _)| key.kind == kind).map(|(k, h)| (k.clone(), h.clone())).collect()
    }

    /// Objects of a kind as they were told last.
    pub(crate) fn view(&self, kind: Kind) -> BTreeMap<Key, Object> {
        newest(&self.of(kind))
    }

    /// How many requests of one sort were sent for a kind.
    pub(crate) fn requests(&self, kind: Kind, what: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let labels = format!(r#"{{kind="{}",group="{}",what="{what}"}} "#, kind.plural(), kind.group());
        let line = text.lines().find_map(|l| l.strip_prefix("kubernetes_requests_total")?.strip_prefix(&labels));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

/// The first object of which the two differ, as both have it.
fn first_difference<T: PartialEq + serde::Serialize>(a: &BTreeMap<Key, T>, b: &BTreeMap<Key, T>) -> String {
    let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let Some(key) = keys.into_iter().find(|key| a.get(key) != b.get(key)) else { return "nothing".to_owned() };
    let text = |states: Option<&T>| serde_json::to_string(&states).unwrap();
    let (a, b) = (text(a.get(key)), text(b.get(key)));
    let from = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(300);
    let part = |text: &str| text.chars().skip(from).take(900).collect::<String>();
    format!("{key}, from character {from}\nplanted {}\ntold    {}", part(&a), part(&b))
}

/// The last states of all objects that are there.
pub(crate) fn newest(histories: &Histories) -> BTreeMap<Key, Object> {
    histories.iter().filter_map(|(key, states)| Some((key.clone(), states.last()?.clone()?))).collect()
}

/// The kinds that every cluster of the release has.
pub(crate) const OF_KUBERNETES: &[Kind] = &[
    Kind::Namespace,
    Kind::Node,
    Kind::ServiceAccount,
    Kind::Deployment,
    Kind::ReplicaSet,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::CronJob,
    Kind::Job,
    Kind::Pod,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Ingress,
    Kind::ServiceCIDR,
    Kind::KubernetesNetworkPolicy,
];
