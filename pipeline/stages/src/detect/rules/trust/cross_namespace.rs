//! `trust.cross-namespace`: an isolated namespace is reached from outside its list.

use catchment_core::FindingKind;

use super::crossing::{Verdict, isolation, judge};
use crate::detect::facts::{Facts, Signs, Talk};
use crate::detect::rule::{Case, Rule, Story, Told};
use crate::detect::sightings::Sightings;
use crate::detect::story::{chain, count};

pub(crate) struct CrossNamespace;

impl Rule for CrossNamespace {
    fn kinds(&self) -> &'static [FindingKind] {
        &[FindingKind::CrossNamespace]
    }

    fn listens(&self, key: &Facts<'_>) -> bool {
        isolation(key.source, key.dest, key.view.settings) == Some(false)
    }

    fn wakes(&self) -> Signs {
        Signs::ALLOWED
    }

    fn refutes(&self) -> bool {
        true
    }

    fn talk(&mut self, talk: &Talk<'_>, out: &mut Sightings) {
        let kind = FindingKind::CrossNamespace;
        judge(talk, kind, out, |key| match isolation(talk.source(), talk.dest(), key.view.settings) {
            Some(false) => {
                Verdict::Crossed(Case::new(kind, talk.subject()).owner(key.dest.who.owner.as_deref()), Vec::new())
            }
            _ => Verdict::Kept,
        });
    }

    fn story(&self, told: &Told<'_>) -> Story {
        let (source, dest, port) = (told.end("source"), told.end("dest"), told.port());
        let (from, to) = (told.member("source_namespace"), told.member("dest_namespace"));
        let trace = told.tally.sample.first().map(|(key, _)| chain(&key.key.trace.enforced)).unwrap_or_default();
        Story {
            title: format!("{source} reaches {dest} on {port}, whose namespace is isolated"),
            explanation: format!(
                "The namespace {to} is declared isolated and does not list {from}, and {source} reached {dest} on {port}: \
                 {} began with {} in the window. What let it through: {trace}. The likely cause is a policy that selects \
                 no namespace, or no policy for {dest} at all.",
                count(told.tally.started, "connection"),
                count(told.tally.packets, "packet"),
            ),
            remediation: format!(
                "Allow ingress to {dest} only from the namespaces on its list. If {from} is meant to reach it, add {from} \
                 to `isolated_namespaces` of {to}."
            ),
            verify: told.why(),
            ..Story::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use catchment_core::{FindingKind, FindingRow, Severity, Status};

    use crate::detect::Settings;
    use crate::detect::testing::{Flow, Scene, end_of_tier, flow, rule};

    fn isolated() -> Scene {
        let settings = r#"{"isolated_namespaces": [
            {"namespace": "vault", "from": ["auth"]},
            {"namespace": "va*", "from": ["audit-*"]}
        ]}"#;
        Scene::with(serde_json::from_str::<Settings>(settings).expect("these are settings"))
    }

    fn of(told: Vec<FindingRow>) -> Vec<FindingRow> {
        told.into_iter().filter(|row| row.kind == FindingKind::CrossNamespace).collect()
    }

    fn reach(source: &str) -> Flow {
        flow(source, "vault/api:8200").dst().trace([rule("vault/open", "default", 0)])
    }

    #[test]
    fn who_is_on_no_list_is_told() {
        let mut scene = isolated();
        let told = of(scene.window([reach("shop/web")]));
        assert_eq!((told.len(), told[0].severity), (1, Severity::Medium));
        assert_eq!(told[0].title, "shop/web reaches vault/api on 8200/tcp, whose namespace is isolated");
        assert_eq!(of(scene.window([reach("shop/web")])), [], "once is enough");
    }

    #[test]
    fn its_own_pods_the_platform_and_who_stands_on_one_list_may() {
        let mut scene = isolated();
        let may = ["vault/cli", "monitoring/prometheus", "auth/login", "audit-eu/reader"].map(reach);
        assert_eq!(of(scene.window(may)), []);
        assert_eq!(of(scene.window([flow("vault/api", "shop/web:80").dst()])), [], "it may reach others");
    }

    #[test]
    fn networks_have_no_namespace_to_be_on_a_list() {
        assert_eq!(of(isolated().window([reach("pvt")])), []);
    }

    #[test]
    fn a_denial_ends_it() {
        let mut scene = isolated();
        scene.window([reach("shop/web")]);
        let denied = reach("shop/web").deny().trace([end_of_tier("default", "vault/api")]);
        assert_eq!(of(scene.window([denied]))[0].status, Status::Resolved);
    }
}
