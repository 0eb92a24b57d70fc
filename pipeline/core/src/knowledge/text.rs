//! Text that many objects carry and one allocation holds.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A piece of text of a cluster's objects: names, labels, identities. Equal texts share one allocation for as long as
/// one of them lives, so a label of twenty thousand pods is stored once. Cloning counts a reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

/// Every text that is alive, and some that were.
#[derive(Default)]
struct Pool {
    texts: HashSet<Arc<str>>,
    /// Texts to hold before those that nobody uses any more are looked for.
    sweep_at: usize,
}

/// Below this many texts there is nothing worth sweeping.
const SMALLEST_SWEEP: usize = 4096;

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

impl Pool {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return shared.clone();
        }
        if self.texts.len() >= self.sweep_at {
            self.sweep();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(shared.clone());
        shared
    }

    /// Drops what only the pool holds. The next sweep comes when the pool has doubled, so a text costs a constant
    /// number of looks however many there are.
    fn sweep(&mut self) {
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.sweep_at = (self.texts.len() * 2).max(SMALLEST_SWEEP);
    }
}

impl Text {
    /// The shared copy of `text`.
    pub fn new(text: &str) -> Self {
        // A panic while the lock is held leaves a set that is still a set.
        Self(POOL.lock().unwrap_or_else(PoisonError::into_inner).share(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new("")
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::new(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_one_allocation() {
        let (a, b) = (Text::new("shared by two"), Text::new("shared by two"));
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_ne!(a, Text::new("other"));
    }

    #[test]
    fn texts_that_nobody_uses_leave_the_pool() {
        let mut pool = Pool::default();
        let kept = pool.share("kept");
        for number in 0..10 * SMALLEST_SWEEP {
            pool.share(&number.to_string());
        }
        assert!(pool.texts.len() <= SMALLEST_SWEEP);
        assert!(Arc::ptr_eq(&kept, &pool.share("kept")));
    }
}
