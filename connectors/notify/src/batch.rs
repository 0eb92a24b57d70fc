//! Where what is to be sent is cut into requests.

/// Joins items with commas between `head` and `tail`, into as few bodies as `max` bytes each allow. An item that is larger
/// alone has a body of its own: it is for the receiver to refuse it.
pub(crate) fn bodies(items: impl IntoIterator<Item = Vec<u8>>, head: &[u8], tail: &[u8], max: usize) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    for item in items {
        match bodies.last_mut() {
            Some(body) if body.len() + 1 + item.len() + tail.len() <= max => body.push(b','),
            _ => bodies.push(head.to_vec()),
        }
        bodies.last_mut().expect("one was just begun or goes on").extend_from_slice(&item);
    }
    for body in &mut bodies {
        body.extend_from_slice(tail);
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(items: &[&str], max: usize) -> Vec<String> {
        let items = items.iter().map(|item| item.as_bytes().to_vec());
        bodies(items, b"[", b"]", max).into_iter().map(|body| String::from_utf8(body).expect("text")).collect()
    }

    #[test]
    fn as_many_items_share_a_body_as_fit() {
        assert_eq!(cut(&["11", "22", "33", "44"], 8), ["[11,22]", "[33,44]"]);
        assert_eq!(cut(&["11", "22", "33"], 10), ["[11,22,33]"]);
    }

    #[test]
    fn an_item_that_is_larger_than_a_body_goes_alone() {
        assert_eq!(cut(&["1", "7777777", "1", "2"], 6), ["[1]", "[7777777]", "[1,2]"]);
    }

    #[test]
    fn nothing_makes_no_body() {
        assert!(cut(&[], 100).is_empty());
    }
}
