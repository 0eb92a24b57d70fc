//! Messages of the package `goldmane`, generated from `proto/goldmane.proto`.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated code; the proto file carries the comments"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/goldmane.rs"));
}

pub use generated::*;

/// Wire numbers as text. Numbers this release does not know are data, not errors: they print as digits.
pub mod names {
    use std::borrow::Cow;

    use super::{Action, EndpointType, PolicyKind, Reporter};

    fn text(number: i32, known: Option<&'static str>) -> Option<Cow<'static, str>> {
        (number != 0).then(|| known.map_or_else(|| Cow::Owned(number.to_string()), Cow::Borrowed))
    }

    /// `WorkloadEndpoint`, `HostEndpoint`, `NetworkSet`, `Network`; `None` for unspecified.
    pub fn endpoint_type(number: i32) -> Option<Cow<'static, str>> {
        text(number, EndpointType::try_from(number).ok().map(|v| v.as_str_name()))
    }

    /// `Src` or `Dst`; `None` for unspecified.
    pub fn reporter(number: i32) -> Option<Cow<'static, str>> {
        text(number, Reporter::try_from(number).ok().map(|v| v.as_str_name()))
    }

    /// `Allow`, `Deny` or `Pass`; `None` for unspecified.
    pub fn action(number: i32) -> Option<Cow<'static, str>> {
        text(number, Action::try_from(number).ok().map(|v| v.as_str_name()))
    }

    /// The kind of a policy; the two that older servers know are named too.
    pub fn policy_kind(number: i32) -> Option<Cow<'static, str>> {
        let known = match number {
            7 => Some("AdminNetworkPolicy"),
            8 => Some("BaselineAdminNetworkPolicy"),
            _ => PolicyKind::try_from(number).ok().map(|v| v.as_str_name()),
        };
        text(number, known)
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn unknown_numbers_are_data() {
            assert_eq!(super::action(1).as_deref(), Some("Allow"));
            assert_eq!(super::action(0), None);
            assert_eq!(super::action(42).as_deref(), Some("42"));
            assert_eq!(super::policy_kind(7).as_deref(), Some("AdminNetworkPolicy"));
            assert_eq!(super::policy_kind(99).as_deref(), Some("99"));
        }
    }
}
