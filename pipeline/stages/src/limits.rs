//! How many keys a stream may tell apart in a window.

use catchment_core::KeyRecord;

/// Bounds that hold whatever a cluster sends: a scan of all ports makes a key of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Distinct keys of a window.
    pub max_keys: usize,
    /// Bytes of their canonical form, all together.
    pub max_bytes: usize,
}

impl Default for KeyLimits {
    /// A million keys are ten times what a cluster of a thousand nodes shows.
    fn default() -> Self {
        Self { max_keys: 1_000_000, max_bytes: 1 << 30 }
    }
}

impl KeyLimits {
    /// Takes room for one more key, in canonical order; false when there is none, and then never
    /// again. Overflow rows always have room: there are only a handful.
    pub(crate) fn take(&mut self, key: &KeyRecord) -> bool {
        if key.is_overflow() {
            return true;
        }
        let fits = self.max_keys > 0 && key.canonical.len() <= self.max_bytes;
        if fits {
            self.max_keys -= 1;
            self.max_bytes -= key.canonical.len();
        } else {
            self.max_keys = 0;
        }
        fits
    }
}
