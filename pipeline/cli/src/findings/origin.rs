//! Where findings are read: from a running process, or from files of rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use catchment_core::{Error, FindingId, Result};
use reqwest::{Client, Url};
use tokio::runtime::Runtime;

use super::row::Row;
use crate::args::OriginArgs;
use crate::config::{Config, HttpConfig};

/// Standard input among files.
pub(crate) const STDIN: &str = "-";

/// Where findings are read.
pub(crate) enum Origin {
    Page(Page),
    Files(Vec<String>),
}

impl Origin {
    pub(crate) fn of(args: &OriginArgs) -> Result<Self> {
        if !args.from.is_empty() {
            return Ok(Self::Files(args.from.clone()));
        }
        let url = match (&args.url, &args.config) {
            (Some(url), _) => url.clone(),
            (None, Some(config)) => format!("http://{}", reachable(Config::load(config)?.http.listen)),
            (None, None) => format!("http://{}", HttpConfig::default().listen),
        };
        Page::new(&url).map(Self::Page)
    }

    /// The newest row of every finding, by id.
    pub(crate) fn newest(&self) -> Result<BTreeMap<FindingId, Row>> {
        let mut newest = Newest::default();
        match self {
            Self::Page(page) => newest.read(&page.url, page.get()?.as_bytes())?,
            Self::Files(files) => {
                for file in files {
                    newest.read(file, open(file)?)?;
                }
                newest.warn_of_other_datasets(&files.join(", "));
            }
        }
        Ok(newest.rows)
    }
}

/// Who listens everywhere is reached here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let here: IpAddr = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(if listen.ip().is_unspecified() { here } else { listen.ip() }, listen.port())
}

/// The page of a running process.
pub(crate) struct Page {
    pub(crate) url: String,
    client: Client,
    runtime: Runtime,
}

/// A process that has more to say than fits into this does not answer at all.
const PATIENCE: Duration = Duration::from_secs(30);

impl Page {
    fn new(text: &str) -> Result<Self> {
        let wrong = || Error::user(format!("`{text}` is no address; write it like http://127.0.0.1:9464"));
        let url = Url::parse(text).ok().filter(Url::has_host).ok_or_else(wrong)?;
        let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let client = Client::builder().timeout(PATIENCE);
        // No proxy leads to this machine.
        let client = if is_here { client.no_proxy() } else { client };
        let client = client.build().map_err(|e| Error::internal("cannot prepare HTTP requests").caused_by(e))?;
        let base = text.trim_end_matches('/').trim_end_matches("/findings");
        Ok(Self { url: format!("{base}/findings"), client, runtime: crate::tokio_runtime()? })
    }

    /// What it says, one row a line.
    pub(crate) fn get(&self) -> Result<String> {
        let answer = async { self.client.get(&self.url).send().await?.error_for_status()?.text().await };
        self.runtime.block_on(answer).map_err(|e| {
            let mend = "see that `catchment run` runs there, or give --url, --config or --from";
            Error::external(format!("cannot read findings from {}: {mend}", self.url)).caused_by(e.without_url())
        })
    }
}

/// A file or standard input, to be read line by line.
pub(crate) fn open(file: &str) -> Result<Box<dyn BufRead>> {
    if file == STDIN {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened =
        File::open(file).map_err(|e| Error::user(format!("cannot read `{file}`: check the path")).caused_by(e));
    Ok(Box::new(BufReader::new(opened?)))
}

/// The newest rows of what has been read so far.
#[derive(Default)]
struct Newest {
    rows: BTreeMap<FindingId, Row>,
    findings: u64,
    others: u64,
}

impl Newest {
    fn read(&mut self, place: &str, mut lines: impl BufRead) -> Result<()> {
        let mut line = String::new();
        for number in 1_u64.. {
            line.clear();
            let length = lines.read_line(&mut line);
            if length.map_err(|e| Error::user(format!("cannot read line {number} of `{place}`")).caused_by(e))? == 0 {
                break;
            }
            match row(place, number, &line)? {
                Some(row) => self.take(row),
                None => self.others += 1,
            }
        }
        Ok(())
    }

    fn take(&mut self, row: Row) {
        self.findings += 1;
        let is_older = self.rows.get(&row.finding.id).is_some_and(|held| held.window.end > row.window.end);
        if !is_older {
            self.rows.insert(row.finding.id, row);
        }
    }

    fn warn_of_other_datasets(&self, place: &str) {
        if self.findings == 0 && self.others > 0 {
            eprintln!(
                "no row in {place} is one of findings: name `findings` under `datasets` of the sink that writes it"
            );
        }
    }
}

/// The row in a line, if it is one of findings. A line that is still being written is none.
pub(crate) fn row(place: &str, number: u64, line: &str) -> Result<Option<Row>> {
    match Row::read(line) {
        Ok(row) => Ok(row),
        Err(_) if !line.ends_with('\n') || line.trim().is_empty() => Ok(None),
        Err(e) => Err(Error::user(format!("line {number} of `{place}` is no row")).caused_by(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_here() {
        let reached = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reached("[::]:9464"), "[::1]:9464");
        assert_eq!(reached("10.0.0.7:80"), "10.0.0.7:80");
    }

    #[test]
    fn the_path_is_added_once() {
        for given in ["http://c:1", "http://c:1/", "http://c:1/findings"] {
            assert_eq!(Page::new(given).expect("an address").url, "http://c:1/findings");
        }
        assert!(Page::new("c:9464").is_err_and(|e| e.message.contains("write it like http://")));
    }
}
