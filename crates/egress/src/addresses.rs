use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{Uri, uri::Scheme};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Who named the URL, and so which addresses it may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// The operator, in the configuration: any address, private ones too, but never the metadata service of a cloud,
    /// nor a link-local, multicast or unspecified address.
    Operator,
    /// Anybody else, through a token, a document or a client: `https` only, and no special-use address (RFC 6890).
    Stranger,
}

/// Why an address is refused, in words for the log.
pub(crate) type Reason = &'static str;

impl Addresses {
    /// Whether a connection may be made to `address`.
    pub(crate) fn check(self, address: IpAddr) -> Result<(), Reason> {
        let address = innermost(address);
        let refused = match self {
            Self::Operator => find(NEVER, address),
            Self::Stranger => {
                find(NEVER, address).or_else(|| find(SPECIAL, address)).or_else(|| unassigned(address))
            }
        };
        refused.map_or(Ok(()), Err)
    }

    /// Checks a URL before its host is resolved.
    pub(crate) fn check_url(self, url: &Uri) -> Result<(), Reason> {
        if self == Self::Stranger && url.scheme() != Some(&Scheme::HTTPS) {
            return Err("only https is allowed");
        }
        // RFC 9110 §4.2.4: userinfo in a URL is a way to disguise its host, or a secret in the wrong place.
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("the URL holds user information");
        }
        self.check_host(url.host().unwrap_or_default())
    }

    /// Checks the host of a URL before it is resolved: an address literal like any address, because the connector does
    /// not ask the resolver about it; a name against those of metadata services.
    ///
    /// `2130706433`, `0x7f.1` and the like are no literals here. The resolver gets them, and what it makes of them is
    /// checked like every address.
    fn check_host(self, host: &str) -> Result<(), Reason> {
        if let Some(address) = literal(host) {
            return self.check(address);
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        if METADATA_NAMES.iter().any(|metadata| name.eq_ignore_ascii_case(metadata)) {
            return Err(METADATA);
        }
        Ok(())
    }
}

/// The address that the host of a URL is, if it is no name.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// The address that a packet ends at: an IPv4-mapped address (RFC 4291 §2.5.5.2) and one behind the well-known NAT64
/// prefix (RFC 6052 §2.1) lead to the IPv4 address inside. Checking the outer form alone would let
/// `::ffff:169.254.169.254` through.
fn innermost(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address.to_canonical(),
    }
}

fn find(table: &[(IpNet, Reason)], address: IpAddr) -> Option<Reason> {
    table.iter().find(|(net, _)| net.contains(&address)).map(|(_, reason)| *reason)
}

/// IANA hands out 2000::/3 as global unicast. The rest is special or will be; refusing it needs no newer table.
fn unassigned(address: IpAddr) -> Option<Reason> {
    (address.is_ipv6() && !GLOBAL_UNICAST.contains(&address)).then_some("not global unicast")
}

const METADATA: Reason = "the metadata service of a cloud";
const METADATA_NAMES: &[&str] = &["metadata.google.internal", "metadata.goog"];
const GLOBAL_UNICAST: IpNet = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const NAT64: IpNet = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Refused whoever names them. Most metadata services are link-local; those that are not stand here by address.
const NEVER: &[(IpNet, Reason)] = &[
    (v4([100, 100, 100, 200], 32), METADATA),                   // Alibaba
    (v4([168, 63, 129, 16], 32), METADATA),                     // Azure's wire server
    (v4([192, 0, 0, 192], 32), METADATA),                       // Oracle
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), METADATA), // AWS
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA),  // Google
    (v4([0, 0, 0, 0], 8), "unspecified or this network"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    // Carries any IPv4 address inside, and its relays are deprecated (RFC 7526).
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// Refused to strangers as well: the special-purpose registries of IANA (RFC 6890), as of 2025.
const SPECIAL: &[(IpNet, Reason)] = &[
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by a carrier's customers"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 31, 196, 0], 24), "AS112"),
    (v4([192, 52, 193, 0], 24), "AMT"),
    (v4([192, 88, 99, 0], 24), "6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([192, 175, 48, 0], 24), "AS112"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments, Teredo among them"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "AS112"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One address of every range, and its neighbours where a range is easily cut wrong.
    const TABLE: &[(&str, bool, bool)] = &[
        // (address, allowed to the operator, allowed to a stranger)
        ("93.184.216.34", true, true),
        ("2606:2800:220:1::1", true, true),
        ("10.0.0.1", true, false),
        ("11.0.0.0", true, true),
        ("100.63.255.255", true, true),
        ("100.64.0.1", true, false),
        ("100.127.255.255", true, false),
        ("100.100.100.200", false, false),
        ("127.0.0.1", true, false),
        ("127.255.255.254", true, false),
        ("168.63.129.16", false, false),
        ("169.253.255.255", true, true),
        ("169.254.0.1", false, false),
        ("169.254.169.254", false, false),
        ("172.15.255.255", true, true),
        ("172.16.0.1", true, false),
        ("172.31.255.255", true, false),
        ("172.32.0.0", true, true),
        ("192.0.0.8", true, false),
        ("192.0.0.192", false, false),
        ("192.0.2.1", true, false),
        ("192.31.196.1", true, false),
        ("192.52.193.1", true, false),
        ("192.88.99.1", true, false),
        ("192.168.1.1", true, false),
        ("192.175.48.1", true, false),
        ("198.17.255.255", true, true),
        ("198.18.0.1", true, false),
        ("198.19.255.255", true, false),
        ("198.51.100.7", true, false),
        ("203.0.113.7", true, false),
        ("224.0.0.1", false, false),
        ("240.0.0.1", true, false),
        ("255.255.255.255", false, false),
        ("0.0.0.0", false, false),
        ("0.1.2.3", false, false),
        ("::", false, false),
        ("::1", true, false),
        ("::127.0.0.1", true, false),
        ("::ffff:93.184.216.34", true, true),
        ("::ffff:127.0.0.1", true, false),
        ("::ffff:169.254.169.254", false, false),
        ("64:ff9b::93.184.216.34", true, true),
        ("64:ff9b::10.0.0.1", true, false),
        ("64:ff9b::169.254.169.254", false, false),
        ("64:ff9b:1::1", true, false),
        ("100::1", true, false),
        ("2001::1", true, false),
        ("2001:2::1", true, false),
        ("2001:20::1", true, false),
        ("2001:200::1", true, true),
        ("2001:db8::1", true, false),
        ("2002:a9fe:a9fe::1", false, false),
        ("2620:4f:8000::1", true, false),
        ("3fff::1", true, false),
        ("5f00::1", true, false),
        ("fc00::1", true, false),
        ("fd00:ec2::254", false, false),
        ("fd20:ce::254", false, false),
        ("fdff::1", true, false),
        ("fe80::1", false, false),
        ("febf::1", false, false),
        ("fec0::1", true, false),
        ("ff02::1", false, false),
    ];

    #[test]
    fn each_range_is_refused_to_whom_it_must_be() {
        for (text, operator, stranger) in TABLE {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Addresses::Operator.check(address).is_ok(), *operator, "{text}, operator");
            assert_eq!(Addresses::Stranger.check(address).is_ok(), *stranger, "{text}, stranger");
        }
    }

    #[test]
    fn a_literal_host_is_checked_like_an_address() {
        for (text, operator, stranger) in TABLE {
            let host = if text.contains(':') { format!("[{text}]") } else { (*text).to_owned() };
            assert_eq!(Addresses::Operator.check_host(&host).is_ok(), *operator, "{host}, operator");
            assert_eq!(Addresses::Stranger.check_host(&host).is_ok(), *stranger, "{host}, stranger");
        }
    }

    #[test]
    fn metadata_services_are_refused_by_name() {
        for host in ["metadata.google.internal", "METADATA.google.internal.", "metadata.goog"] {
            assert_eq!(Addresses::Operator.check_host(host), Err(METADATA), "{host}");
        }
        assert_eq!(Addresses::Operator.check_host("metadata.google.internal.example.org"), Ok(()));
    }
}
