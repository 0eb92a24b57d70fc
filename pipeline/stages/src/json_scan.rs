//! The members of one JSON object, found without parsing what they hold.
//!
//! Quotes, escapes and brackets are followed, nothing more: what a value holds is checked where it
//! is read. So a text that is taken apart here need not be JSON inside its values, but a JSON text is
//! always taken apart rightly.

use std::borrow::Cow;

/// Where reading failed, and what was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Offset in the text.
    pub(crate) at: usize,
    /// What a JSON object has there.
    pub(crate) expected: &'static str,
}

/// Calls `visit` with the name and the value of every member, as they are written; names are
/// unescaped. `visit` may stop the walk with an error of its own.
pub(crate) fn members<'a, E>(
    text: &'a [u8],
    mut visit: impl FnMut(Cow<'a, [u8]>, &'a [u8]) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<Broken>,
{
    let mut reader = Reader { text, at: 0 };
    reader.expect(b'{', "`{`")?;
    if reader.next_is(b'}') {
        return Ok(reader.end()?);
    }
    loop {
        let name = reader.name()?;
        reader.expect(b':', "`:`")?;
        let value = reader.value()?;
        visit(name, value)?;
        if !reader.next_is(b',') {
            break;
        }
    }
    reader.expect(b'}', "`,` or `}`")?;
    Ok(reader.end()?)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn broken(&self, expected: &'static str) -> Broken {
        Broken { at: self.at, expected }
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Whether `byte` stands next, which is then passed.
    fn next_is(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Broken> {
        if self.next_is(byte) { Ok(()) } else { Err(self.broken(what)) }
    }

    fn end(mut self) -> Result<(), Broken> {
        self.skip_space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.broken("the end of the line, as a line holds one object,"))
        }
    }

    fn name(&mut self) -> Result<Cow<'a, [u8]>, Broken> {
        self.skip_space();
        let start = self.at;
        if self.text.get(start) != Some(&b'"') {
            return Err(self.broken("a name in quotes"));
        }
        self.string()?;
        let name = &self.text[start + 1..self.at - 1];
        if !name.contains(&b'\\') {
            return Ok(Cow::Borrowed(name));
        }
        let unescaped: String = serde_json::from_slice(&self.text[start..self.at])
            .map_err(|_| Broken { at: start, expected: "a name without broken escapes" })?;
        Ok(Cow::Owned(unescaped.into_bytes()))
    }

    fn value(&mut self) -> Result<&'a [u8], Broken> {
        self.skip_space();
        let start = self.at;
        match self.text.get(start) {
            Some(b'"') => self.string()?,
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar(),
        }
        if self.at == start { Err(self.broken("a value")) } else { Ok(&self.text[start..self.at]) }
    }

    fn scalar(&mut self) {
        while matches!(self.text.get(self.at), Some(byte) if !b",}] \t\r\n".contains(byte)) {
            self.at += 1;
        }
    }

    /// Passes a string; stands at its opening quote.
    #[inline]
    fn string(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            // Eight bytes at a time: the strings of a flow are short, so a call would cost more.
            while let Some(word) = self.text.get(self.at..).and_then(<[u8]>::first_chunk) {
                let found = first_of(u64::from_le_bytes(*word), b'"', b'\\');
                self.at += found;
                if found < 8 {
                    break;
                }
            }
            match self.text.get(self.at) {
                None => return Err(self.broken("the end of a string")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
    }

    /// Passes an object or an array; stands at its opening bracket.
    fn container(&mut self) -> Result<(), Broken> {
        let mut depth = 0_usize;
        loop {
            match self.text.get(self.at) {
                None => return Err(self.broken("a closing bracket")),
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Place of the first byte of `word`, lowest first, that is `a` or `b`; 8 if none is.
#[inline]
fn first_of(word: u64, a: u8, b: u8) -> usize {
    let zeros = |x: u64| x.wrapping_sub(0x0101_0101_0101_0101) & !x & 0x8080_8080_8080_8080;
    let spread = |byte: u8| u64::from(byte) * 0x0101_0101_0101_0101;
    // Bytes above the first hit may be marked wrongly; the lowest mark is always right.
    let found = zeros(word ^ spread(a)) | zeros(word ^ spread(b));
    found.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn walk(text: &str) -> Result<Vec<(String, String)>, Broken> {
        let mut found = Vec::new();
        members(text.as_bytes(), |name, value| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the input is text");
            found.push((text(&name), text(value)));
            Ok::<_, Broken>(())
        })?;
        Ok(found)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"["\\\\{}\[\],:a-z é]{0,20}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(r#"["\\\\{}a-z]{0,9}"#, inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_object_falls_into_its_members(
            object in prop::collection::btree_map(r#"["\\\\{}a-z é]{0,12}"#, any_json(), 0..8),
            pretty in any::<bool>(),
        ) {
            let object = Value::Object(object.into_iter().collect());
            let text = if pretty { format!("{object:#}") } else { object.to_string() };
            let found = walk(&text).expect("a JSON object");
            let found: serde_json::Map<_, Value> =
                found.into_iter().map(|(name, value)| (name, serde_json::from_str(&value).expect("a value"))).collect();
            prop_assert_eq!(Value::Object(found), object);
        }

        #[test]
        fn no_text_makes_it_panic(text in r#"[{}\[\]":,\\a1 ]{0,40}"#) {
            let _ = walk(&text);
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        let broken = |text: &str| walk(text).expect_err("no object");
        assert_eq!(broken("[1]"), Broken { at: 0, expected: "`{`" });
        assert_eq!(broken(r#"{"a":"#), Broken { at: 5, expected: "a value" });
        assert_eq!(broken(r#"{"a" 1}"#), Broken { at: 5, expected: "`:`" });
        assert_eq!(broken(r#"{"a":1 2}"#), Broken { at: 7, expected: "`,` or `}`" });
        assert_eq!(
            broken(r#"{"a":1} x"#),
            Broken { at: 8, expected: "the end of the line, as a line holds one object," }
        );
        assert_eq!(broken(r#"{"a":[1"#), Broken { at: 7, expected: "a closing bracket" });
        assert_eq!(broken(r#"{"a":"x\"}"#), Broken { at: 10, expected: "the end of a string" });
        assert_eq!(broken("{a:1}"), Broken { at: 1, expected: "a name in quotes" });
    }

    #[test]
    fn an_escaped_name_is_the_name_it_stands_for() {
        assert_eq!(walk(r#"{"start\u005ftime":1}"#), Ok(vec![("start_time".into(), "1".into())]));
    }
}
