//! Protocols and ports, which the API writes as a number or as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An IP protocol by its number; written by name where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// 1
    pub const ICMP: Self = Self(1);
    /// 6
    pub const TCP: Self = Self(6);
    /// 17
    pub const UDP: Self = Self(17);
    /// 58
    pub const ICMP_V6: Self = Self(58);
    /// 132
    pub const SCTP: Self = Self(132);
    /// 136
    pub const UDP_LITE: Self = Self(136);

    /// Whether its packets carry ports.
    pub fn has_ports(self) -> bool {
        [Self::TCP, Self::UDP, Self::SCTP, Self::UDP_LITE].contains(&self)
    }
}

const NAMES: [(&str, Protocol); 6] = [
    ("ICMP", Protocol::ICMP),
    ("TCP", Protocol::TCP),
    ("UDP", Protocol::UDP),
    ("ICMPv6", Protocol::ICMP_V6),
    ("SCTP", Protocol::SCTP),
    ("UDPLite", Protocol::UDP_LITE),
];

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    /// Any case; Goldmane writes `ICMPv6` as `icmp6`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("icmp6") {
            return Ok(Self::ICMP_V6);
        }
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, protocol)| *protocol);
        named.or_else(|| text.parse().ok().map(Self)).ok_or_else(|| {
            format!("`{text}` is no protocol; write TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a number up to 255")
        })
    }
}

/// A port, a range of ports, or the name of a port that endpoints declare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// First and last port, both included.
    Range(u16, u16),
    /// Name of a declared port.
    Named(String),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(first, last) if first == last => write!(f, "{first}"),
            Self::Range(first, last) => write!(f, "{first}:{last}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if digits(first) && digits(last) {
            return match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first <= last => Ok(Self::Range(first, last)),
                _ => Err(format!("`{text}` is no port; write a number up to 65535 or a range like 8000:8099")),
            };
        }
        let named = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if named { Ok(Self::Named(text.to_owned())) } else { Err(format!("`{text}` is no port, range or port name")) }
    }
}

/// Writes a number where the text is one.
fn write<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match text.parse::<u16>() {
        Ok(number) => serializer.serialize_u16(number),
        Err(_) => serializer.serialize_str(text),
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "neither a number nor a text")]
enum NumberOrText {
    Number(u32),
    Text(String),
}

fn read<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(deserializer: D) -> Result<T, D::Error> {
    let text = match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text,
    };
    text.parse().map_err(de::Error::custom)
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(&self.to_string(), serializer)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(&self.to_string(), serializer)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_or_names() {
        let ports: Vec<Port> = serde_json::from_str(r#"[80, "443", "8000:8099", "http-alt"]"#).unwrap();
        let range = |first, last| Port::Range(first, last);
        assert_eq!(ports, [range(80, 80), range(443, 443), range(8000, 8099), Port::Named("http-alt".into())]);
        assert_eq!(serde_json::to_string(&ports).unwrap(), r#"[80,443,"8000:8099","http-alt"]"#);
        for wrong in [r#""""#, "65536", "-1", r#""90:80""#, r#""a b""#, r#""1:x""#] {
            assert!(serde_json::from_str::<Port>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn protocols_are_names_or_numbers() {
        let protocols: Vec<Protocol> = serde_json::from_str(r#"["TCP", 17, "icmp6", "ICMPv6", 47]"#).unwrap();
        assert_eq!(protocols, [Protocol::TCP, Protocol::UDP, Protocol::ICMP_V6, Protocol::ICMP_V6, Protocol(47)]);
        assert_eq!(serde_json::to_string(&protocols).unwrap(), r#"["TCP","UDP","ICMPv6","ICMPv6",47]"#);
        for wrong in [r#""quic""#, "256", "-1"] {
            assert!(serde_json::from_str::<Protocol>(wrong).is_err(), "{wrong}");
        }
    }
}
