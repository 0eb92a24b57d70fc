//! Order-preserving bytes: comparing two encodings is comparing what was encoded, field by field.
//!
//! `None` sorts before every value, text sorts by its bytes, a prefix before what extends it.
//! The layout is part of the contract: `flow_id` is a hash of it.

use std::sync::Arc;

use crate::{Endpoint, PolicyHit, PolicyRef, Service};

/// Appends fields to a canonical encoding.
#[derive(Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

impl Encoder {
    /// Text, ended by `00 00`; a NUL inside becomes `00 FF`, which sorts above the end.
    pub(crate) fn text(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend([0, 0]);
    }

    pub(crate) fn optional_text(&mut self, text: Option<&Arc<str>>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// Big-endian with the sign bit turned, so that -1 sorts before 0.
    pub(crate) fn int(&mut self, value: i64) {
        self.0.extend((value ^ i64::MIN).to_be_bytes());
    }

    fn optional_int(&mut self, value: Option<i64>) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            self.int(value);
        }
    }

    pub(crate) fn names(&mut self, end: &Endpoint) {
        self.optional_text(end.namespace.as_ref());
        self.text(end.name());
    }

    pub(crate) fn service(&mut self, service: &Service) {
        self.optional_text(service.namespace.as_ref());
        self.optional_text(service.name.as_ref());
        self.optional_text(service.port_name.as_ref());
        self.optional_int(service.port);
    }

    pub(crate) fn hits(&mut self, hits: &[PolicyHit]) {
        for hit in hits {
            self.0.push(1);
            self.policy(&hit.policy);
            self.int(i64::from(hit.action));
            self.int(hit.policy_index);
            self.int(hit.rule_index);
            self.0.push(u8::from(hit.trigger.is_some()));
            if let Some(trigger) = &hit.trigger {
                self.policy(trigger);
            }
        }
        self.0.push(0);
    }

    fn policy(&mut self, policy: &PolicyRef) {
        self.int(i64::from(policy.kind));
        self.optional_text(policy.namespace.as_ref());
        self.optional_text(policy.name.as_ref());
        self.optional_text(policy.tier.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Encoder;

    fn encode(fields: &(Option<String>, String, i64)) -> Vec<u8> {
        let mut e = Encoder::default();
        e.optional_text(fields.0.as_deref().map(Into::into).as_ref());
        e.text(&fields.1);
        e.int(fields.2);
        e.0
    }

    proptest! {
        #[test]
        fn order_of_bytes_is_order_of_fields(
            a in (proptest::option::of("[a\u{0}\u{1}é-]{0,3}"), "[a\u{0}\u{1}b]{0,3}", -2i64..2),
            b in (proptest::option::of("[a\u{0}\u{1}é-]{0,3}"), "[a\u{0}\u{1}b]{0,3}", -2i64..2),
        ) {
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
        }
    }
}
