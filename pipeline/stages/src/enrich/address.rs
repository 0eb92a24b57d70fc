//! Classes of addresses outside the cluster.

use std::net::IpAddr;

use catchment_core::AddressClass;

/// The class of an address that no pod and no node has.
pub(super) const fn class(ip: IpAddr) -> AddressClass {
    let (private, link_local) = match ip {
        IpAddr::V4(ip) => (ip.is_private(), ip.is_link_local()),
        IpAddr::V6(ip) => (ip.is_unique_local(), ip.is_unicast_link_local()),
    };
    match (private, link_local) {
        (true, _) => AddressClass::Private,
        (_, true) => AddressClass::LinkLocal,
        _ => AddressClass::Public,
    }
}

/// The class that the first addresses of all networks have; `None` where there is none.
pub(super) fn class_of_nets(nets: &[String]) -> Option<AddressClass> {
    let first = |net: &String| net.split('/').next().and_then(|ip| ip.parse().ok()).map(class);
    let mut classes = nets.iter().filter_map(first);
    let one = classes.next()?;
    Some(if classes.all(|class| class == one) { one } else { AddressClass::Mixed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_class_of_all_its_networks() {
        let class = |nets: &[&str]| class_of_nets(&nets.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(class(&["10.0.0.0/8", "192.168.3.7"]), Some(AddressClass::Private));
        assert_eq!(class(&["169.254.169.254/32", "fe80::1"]), Some(AddressClass::LinkLocal));
        assert_eq!(class(&["10.0.0.0/8", "8.8.8.8"]), Some(AddressClass::Mixed));
        assert_eq!(class(&["100.64.0.0/10", "2001:db8::/32"]), Some(AddressClass::Public));
        assert_eq!(class(&[]), None);
    }
}
