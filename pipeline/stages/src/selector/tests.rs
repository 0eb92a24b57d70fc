use catchment_core::knowledge::{LabelMap, LabelSelector};
use proptest::prelude::*;

use super::{Anchor, Selector, Subject, calico_text};

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn parsed(text: &str) -> Selector {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn every_operator_says_what_it_says_of_present_and_missing_labels() {
    let endpoint = labels(&[("app", "web-1"), ("empty", "")]);
    for (text, expected) in [
        ("app == 'web-1'", true),
        ("app == 'WEB-1'", false),
        ("app == ''", false),
        ("empty == ''", true),
        ("gone == ''", false),
        ("app != 'web-1'", false),
        ("app != 'x'", true),
        ("gone != 'x'", true),
        ("app in {'x', 'web-1'}", true),
        ("app in {'x'}", false),
        ("app in {}", false),
        ("gone in {'x'}", false),
        ("app not in {'x'}", true),
        ("app not in {'web-1'}", false),
        ("app not in {}", true),
        ("gone not in {'x'}", true),
        ("app contains 'b-'", true),
        ("app contains ''", true),
        ("gone contains ''", false),
        ("app starts with 'web'", true),
        ("app starts with 'eb'", false),
        ("gone starts with ''", false),
        ("app ends with '-1'", true),
        ("app ends with 'web'", false),
        ("gone ends with ''", false),
        ("has(app)", true),
        ("has(empty)", true),
        ("has(gone)", false),
        ("!has(gone)", true),
        ("all()", true),
        ("global()", true),
        ("!all()", false),
        ("", true),
        (" \t ", true),
    ] {
        assert_eq!(parsed(text).matches(&endpoint), expected, "{text}");
    }
}

#[test]
fn and_binds_closer_than_or_and_not_closer_than_both() {
    let endpoint = labels(&[("a", "1")]);
    for (text, expected) in [
        ("has(a) || has(b) && has(c)", true),
        ("(has(a) || has(b)) && has(c)", false),
        ("has(b) && has(c) || has(a)", true),
        ("!has(b) && has(a)", true),
        ("!(has(b) && has(a))", true),
        ("!has(a) || has(a)", true),
        ("!(has(a) || has(b))", false),
        ("!!has(a)", true),
        ("! ! !has(a)", false),
        ("!a == '2'", true),
    ] {
        assert_eq!(parsed(text).matches(&endpoint), expected, "{text}");
    }
}

#[test]
fn the_canonical_form_is_calicos() {
    for (text, canonical) in [
        ("", "all()"),
        ("all( )", "all()"),
        (" global(\t)", "global()"),
        ("has( a )", "has(a)"),
        ("a=='b'", r#"a == "b""#),
        (r#"a != 'say "b"'"#, r#"a != 'say "b"'"#),
        (r#"a == "it's""#, r#"a == "it's""#),
        ("a in{'c','b' , 'c',}", r#"a in {"b", "c"}"#),
        ("a notin {}", "a not in {}"),
        ("a not \t in {'b'}", r#"a not in {"b"}"#),
        ("a startswith 'b'", r#"a starts with "b""#),
        ("a starts   with'b'", r#"a starts with "b""#),
        ("a endswith 'b'", r#"a ends with "b""#),
        ("a contains\"b\"", r#"a contains "b""#),
        ("! has(a)", "!has(a)"),
        ("!!has(a)", "has(a)"),
        ("!!!has(a)", "!has(a)"),
        ("!(!has(a))", "!!has(a)"),
        ("((has(a)))", "has(a)"),
        ("has(a) && has(b) || has(c)", "((has(a) && has(b)) || has(c))"),
        ("has(a) && (has(b) && has(c))", "(has(a) && (has(b) && has(c)))"),
        ("a == 'b' && !c == 'd'", r#"(a == "b" && !c == "d")"#),
        ("in in {'in'}", r#"in in {"in"}"#),
        ("not not in {'not'}", r#"not not in {"not"}"#),
        ("contains contains 'contains'", r#"contains contains "contains""#),
        ("has == 'all'", r#"has == "all""#),
        ("all == 'x' && global == 'y'", r#"(all == "x" && global == "y")"#),
        ("has(all)", "has(all)"),
        ("app.kubernetes.io/name == 'ä ∧ \u{1f980}'", "app.kubernetes.io/name == \"ä ∧ \u{1f980}\""),
        ("a == 'x\ny'", "a == \"x\ny\""),
    ] {
        assert_eq!(parsed(text).to_string(), canonical, "{text}");
        let again = parsed(canonical).to_string();
        assert!(again == canonical || canonical == "!!has(a)", "{text}: {again}");
    }
}

#[test]
fn what_is_no_selector_is_refused_at_its_place() {
    for (text, at, reason) in [
        ("a", 1, "after the label `a`"),
        ("a b == 'c'", 2, "after the label `a`"),
        ("a =", 2, "after the label `a`"),
        ("a = 'b'", 2, "after the label `a`"),
        ("a == b", 5, "string in quotes"),
        ("a == 'b", 5, "does not end"),
        ("a == 'b\"", 5, "does not end"),
        ("a inn {'b'}", 2, "after the label `a`"),
        ("a containsx 'b'", 2, "after the label `a`"),
        ("a starts 'b'", 2, "after the label `a`"),
        ("a not 'b'", 2, "after the label `a`"),
        ("a in 'b'", 5, "expected a set"),
        ("a in {'b' 'c'}", 10, "`,` or `}`"),
        ("a in {,}", 6, "string in quotes or `}`"),
        ("a in {b}", 6, "string in quotes or `}`"),
        ("a in {'b'", 9, "`,` or `}`"),
        ("has()", 4, "between the parentheses"),
        ("has(a", 5, "expected `)`"),
        ("has(a b)", 6, "expected `)`"),
        ("has (a)", 4, "after the label `has`"),
        ("all(a)", 4, "takes nothing"),
        ("(has(a)", 7, "`)`"),
        ("has(a))", 6, "the end"),
        ("has(a) has(b)", 7, "the end"),
        ("has(a) &", 7, "the end"),
        ("has(a) & has(b)", 7, "the end"),
        ("has(a) &&", 9, "expected a label"),
        ("has(a) || && has(b)", 10, "expected a label"),
        ("!", 1, "expected a label"),
        ("!=", 1, "expected a label"),
        ("()", 1, "expected a label"),
        ("'a' == 'b'", 0, "expected a label"),
        ("a: b", 1, "after the label `a`"),
        ("\na == 'b'", 0, "expected a label"),
        ("ä == 'b'", 0, "expected a label"),
    ] {
        let error = text.parse::<Selector>().expect_err(text);
        assert!(error.at == at && error.reason.contains(reason), "{text}: {error}");
    }
}

#[test]
fn keys_and_parentheses_have_a_limit() {
    let key = |length| format!("{} == 'b'", "k".repeat(length));
    assert!(key(512).parse::<Selector>().is_ok());
    assert!(key(513).parse::<Selector>().unwrap_err().reason.contains("512 characters"));
    let nested = |depth| format!("{}has(a){}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(nested(200).parse::<Selector>().unwrap().to_string(), "has(a)");
    assert_eq!(nested(100_000).parse::<Selector>().unwrap_err().at, 200);
}

#[test]
fn the_caret_stands_under_the_place() {
    let text = "stadt == 'köln' && ort = 'x'";
    let error = text.parse::<Selector>().unwrap_err();
    let pointed = error.pointed(text);
    let (line, caret) = pointed.split_once('\n').unwrap();
    assert_eq!(line, text);
    assert_eq!(text.chars().nth(caret.chars().position(|c| c == '^').unwrap()), Some('='));
}

#[test]
fn selectors_of_kubernetes_are_written_as_calico_writes_them() {
    let selector: LabelSelector = serde_json::from_value(serde_json::json!({
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["x", "y"]},
            {"key": "d", "operator": "NotIn", "values": ["z"]},
            {"key": "e", "operator": "Exists"},
            {"key": "f", "operator": "DoesNotExist"},
        ],
    }))
    .unwrap();
    let terms = "a == '1' && b == '2' && c in { 'x', 'y' } && d not in { 'z' } && has(e) && ! has(f)";
    let pods = "projectcalico.org/orchestrator == 'k8s'";
    assert_eq!(calico_text(Some(&selector), Subject::Pods), format!("{pods} && {terms}"));
    assert_eq!(calico_text(Some(&selector), Subject::Namespaces), terms);
    assert_eq!(calico_text(None, Subject::Pods), pods);
    assert_eq!(calico_text(Some(&LabelSelector::default()), Subject::Pods), pods);
    assert_eq!(calico_text(None, Subject::Namespaces), "");
    assert_eq!(calico_text(Some(&LabelSelector::default()), Subject::Namespaces), "all()");
}

#[test]
fn an_anchor_is_the_narrowest_label_that_must_be_there() {
    for (text, anchors) in [
        ("a == 'b' && has(c)", Some(vec![Anchor::Value("a", "b")])),
        ("has(c) && a in {'x', 'y'}", Some(vec![Anchor::Value("a", "x"), Anchor::Value("a", "y")])),
        ("a == 'b' || c starts with 'd'", Some(vec![Anchor::Value("a", "b"), Anchor::Key("c")])),
        ("projectcalico.org/orchestrator == 'k8s' && a == 'b'", Some(vec![Anchor::Value("a", "b")])),
        ("a == 'b' || c != 'd'", None),
        ("!has(a)", None),
        ("all()", None),
        ("a in {}", Some(vec![])),
    ] {
        assert_eq!(parsed(text).anchors(), anchors, "{text}");
    }
}

#[test]
fn a_selector_that_misses_by_one_term_tells_which() {
    let endpoint =
        labels(&[("app", "Web"), ("tier", "frontend"), ("name", "billing"), ("ready", "true"), ("shard", "shop-12")]);
    for (text, missed) in [
        ("app == 'web' && tier == 'frontend'", vec![("app == \"web\"", Some("app=Web"))]),
        ("app == 'db' && tier == 'frontend'", vec![("app == \"db\"", None)]),
        ("tier == 'front'", vec![("tier == \"front\"", Some("tier=frontend"))]),
        ("tier == 'frontned'", vec![("tier == \"frontned\"", Some("tier=frontend"))]),
        ("app in {'x', 'web'}", vec![("app in {\"web\", \"x\"}", Some("app=Web"))]),
        ("shard == 'shop-1'", vec![("shard == \"shop-1\"", None)]),
        ("shard == 'shops-12'", vec![("shard == \"shops-12\"", Some("shard=shop-12"))]),
        ("service == 'billing'", vec![("service == \"billing\"", Some("name=billing"))]),
        ("pcns.team == 'billing'", vec![("pcns.team == \"billing\"", None)]),
        ("live == 'true'", vec![("live == \"true\"", None)]),
        ("!has(app)", vec![("!has(app)", None)]),
        ("has(x) || has(y)", vec![("has(x)", None), ("has(y)", None)]),
        ("has(x) && has(y)", vec![]),
        ("!(has(app) || has(x))", vec![("!has(app)", None)]),
        ("!(has(app) && has(tier))", vec![("!has(app)", None), ("!has(tier)", None)]),
        ("app == 'Web'", vec![]),
        ("!all()", vec![]),
    ] {
        let found = parsed(text).missed(&endpoint);
        let found: Vec<_> = found.iter().map(|term| (term.term.as_str(), term.resembles.as_deref())).collect();
        assert_eq!(found, missed, "{text}");
    }
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "in", "has", "not", "x.y/z-1"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "1", "12", "2", "\"", "in", "a && b"]).prop_map(str::to_owned)
}

/// A value in quotes it does not contain.
fn quoted() -> impl Strategy<Value = String> {
    (value(), any::<bool>()).prop_map(|(value, single)| {
        if single || value.contains('"') { format!("'{value}'") } else { format!("\"{value}\"") }
    })
}

fn term() -> impl Strategy<Value = String> {
    let op = prop::sample::select(vec!["==", "!=", " contains", " starts with ", " endswith "]);
    let set = prop::collection::vec(quoted(), 0..4).prop_map(|values| values.join(" ,"));
    prop_oneof![
        4 => (key(), op, quoted()).prop_map(|(key, op, value)| format!("{key}{op}{value}")),
        2 => (key(), any::<bool>(), set)
            .prop_map(|(key, not, set)| format!("{key} {}{{{set}}}", if not { "notin" } else { "in " })),
        2 => key().prop_map(|key| format!("has( {key})")),
        1 => Just("all()".to_owned()),
        1 => Just("global( )".to_owned()),
    ]
}

fn selector() -> impl Strategy<Value = String> {
    term().prop_recursive(5, 40, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            many.clone().prop_map(|all| all.join(" && ")),
            many.prop_map(|any| any.join("||")),
            inner.clone().prop_map(|inner| format!("!{inner}")),
            inner.prop_map(|inner| format!("({inner} )")),
        ]
    })
}

fn some_labels() -> impl Strategy<Value = LabelMap> {
    prop::collection::btree_map(key(), value(), 0..5)
}

proptest! {
    #[test]
    fn the_canonical_form_means_the_same_and_is_its_own(text in selector(), labels in some_labels()) {
        let (selector, canonical) = (parsed(&text), parsed(&text).to_string());
        prop_assert_eq!(parsed(&canonical).matches(&labels), selector.matches(&labels), "{}", &canonical);
        let again = parsed(&canonical).to_string();
        prop_assert!(again == canonical || canonical.contains("!!"), "{} becomes {}", &canonical, &again);
        prop_assert_eq!(parsed(&again).to_string(), again);
    }

    #[test]
    fn what_matches_bears_an_anchor(text in selector(), labels in some_labels()) {
        let selector = parsed(&text);
        let borne = |anchor: &Anchor<'_>| match anchor {
            Anchor::Value(key, value) => labels.get(*key).is_some_and(|found| found == value),
            Anchor::Key(key) => labels.contains_key(*key),
        };
        if selector.matches(&labels) {
            prop_assert!(selector.anchors().is_none_or(|anchors| anchors.iter().any(borne)), "{:?}", selector.anchors());
        }
    }

    #[test]
    fn a_prefix_on_both_sides_changes_nothing(text in selector(), labels in some_labels()) {
        let prefixed: LabelMap = labels.iter().map(|(key, value)| (format!("pcns.{key}"), value.clone())).collect();
        prop_assert_eq!(parsed(&text).prefixed("pcns.").matches(&prefixed), parsed(&text).matches(&labels));
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[ab()!&|={}'\", inhastow]{0,40}|.{0,20}") {
        match text.parse::<Selector>() {
            Ok(selector) => prop_assert_eq!(parsed(&selector.to_string()).matches(&LabelMap::new()), selector.matches(&LabelMap::new())),
            Err(error) => prop_assert!(error.pointed(&text).contains('^')),
        }
    }
}
