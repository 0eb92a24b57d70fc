//! What each kind of finding means: the section of its page, as text for a terminal.

use catchment_core::{Family, FindingKind};

use super::words::wrap;

/// What the page says of a kind.
pub(super) fn text(kind: FindingKind) -> String {
    // Examples are for readers of JSON; every second part stands between fences.
    let prose = section(kind).split("```").step_by(2);
    let blocks = prose.flat_map(|prose| prose.split("\n\n")).map(|block| block.trim_matches('\n'));
    let blocks: Vec<_> = blocks.filter(|block| !block.is_empty()).map(as_text).collect();
    blocks.join("\n")
}

fn section(kind: FindingKind) -> &'static str {
    let heading = format!("### {kind}\n");
    let (_, behind) = page(kind.family()).split_once(&heading).expect("a page has a section for every kind");
    let ends = ["\n### ", "\n## "].into_iter().filter_map(|heading| behind.find(heading));
    &behind[..ends.min().unwrap_or(behind.len())]
}

const fn page(family: Family) -> &'static str {
    match family {
        Family::Policy => include_str!("../../../../docs/findings/policy.md"),
        Family::Trust => include_str!("../../../../docs/findings/trust.md"),
        Family::Asymmetry => include_str!("../../../../docs/findings/asymmetry.md"),
        Family::Private => include_str!("../../../../docs/findings/private.md"),
        Family::Zombie => include_str!("../../../../docs/findings/zombie.md"),
        Family::Health => include_str!("../../../../docs/findings/health.md"),
    }
}

/// A paragraph; what is indented, and a list or table, stays as it is.
fn as_text(block: &str) -> String {
    if ["    ", "- ", "|"].iter().any(|begin| block.starts_with(begin)) {
        return format!("{block}\n");
    }
    wrap(&without_marks(&block.replace('\n', " ")), 0)
}

/// Without emphasis and the targets of links; what stands in backticks is left alone.
fn without_marks(paragraph: &str) -> String {
    let mut text = String::new();
    for (at, part) in paragraph.split('`').enumerate() {
        if at > 0 {
            text.push('`');
        }
        text += &if at % 2 == 0 { part.replace('*', "") } else { part.to_owned() };
    }
    while let Some(parts) = link(&text) {
        text = parts.concat();
    }
    text
}

/// The first link: what stands before it, its label, and what stands behind it.
fn link(text: &str) -> Option<[&str; 3]> {
    let (before, behind) = text.split_once("](")?;
    let (before, label) = before.rsplit_once('[')?;
    let (_, behind) = behind.split_once(')')?;
    Some([before, label, behind])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_text_of_its_own_without_marks() {
        let texts: std::collections::BTreeSet<_> = FindingKind::ALL.iter().map(|kind| text(*kind)).collect();
        assert_eq!(texts.len(), FindingKind::ALL.len());
        for text in texts {
            assert!(!["](", "```", "###", "*Fix"].iter().any(|mark| text.contains(mark)), "{text}");
        }
    }

    #[test]
    fn paragraphs_lose_emphasis_and_targets_and_keep_what_is_code() {
        let text = without_marks("*Fix.* See [the `limits`](../configuration.md#limits) of `a-*`, **not** [b](#b).");
        assert_eq!(text, "Fix. See the `limits` of `a-*`, not b.");
        assert_eq!(as_text("    findings:\n      a: 1"), "    findings:\n      a: 1\n");
    }
}
