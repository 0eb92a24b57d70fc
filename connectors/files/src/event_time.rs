//! The newest start time in framed flows, found without parsing them.

use catchment_core::EventTime;
use memchr::memmem;

/// The newest `start_time` or `startTime` in `payload`: seconds as number or text, or RFC 3339.
pub(crate) fn newest_start(payload: &[u8]) -> Option<EventTime> {
    [&b"\"start_time\""[..], b"\"startTime\""].iter().filter_map(|name| newest_of(payload, name)).max()
}

fn newest_of(payload: &[u8], name: &[u8]) -> Option<EventTime> {
    memmem::find_iter(payload, name).filter_map(|at| value_at(&payload[at + name.len()..])).max()
}

fn value_at(rest: &[u8]) -> Option<EventTime> {
    let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|b| matches!(b, b'"' | b',' | b'}' | b' ' | b'\n'))?;
    let text = std::str::from_utf8(&value[..end]).ok()?;
    let seconds = text.parse().ok().map(EventTime::from_secs);
    seconds.or_else(|| EventTime::parse_rfc3339(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_shapes_are_understood() {
        let secs = |s| Some(EventTime::from_secs(s));
        assert_eq!(newest_start(br#"{"start_time":30,"x":1}"#), secs(30));
        assert_eq!(newest_start(br#"{"startTime": "45","x":1}"#), secs(45));
        assert_eq!(newest_start(br#"{"start_time":"1970-01-01T00:01:00Z"}"#), secs(60));
        assert_eq!(newest_start(b"{\"start_time\":30}\n{\"start_time\":90}\n{\"start_time\":15}\n"), secs(90));
    }

    #[test]
    fn what_is_no_time_is_passed_over() {
        assert_eq!(newest_start(br#"{"start_time":"soon"}"#), None);
        assert_eq!(newest_start(br#"{"note":"\"start_time\":7"}"#), None);
        assert_eq!(newest_start(br#"{"start_time""#), None);
    }
}
