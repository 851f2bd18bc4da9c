//! Debian's `promtool query` against the API function behind a socket.

use promql::http;
use promql::store::{ScrapeCache, Store};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

const T0: i64 = 1_767_225_600_000; // 2026-01-01T00:00:00Z

fn store() -> Store {
    let store = Store::default();
    let target = [("job".to_owned(), "dcgm".to_owned())];
    let mut cache = ScrapeCache::new();
    for i in 0..60 {
        let page = format!(
            "gpu{{pod=\"a\"}} {i}\nrequests_total{{pod=\"a\"}} {}\n",
            i * 5
        );
        store.ingest(&page, &target, T0 + i * 5_000, &mut cache);
    }
    store
}

/// Serves one request per connection until the process ends.
fn serve(store: Store) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut line = String::new();
            if reader.read_line(&mut line).is_err() {
                continue;
            }
            let mut words = line.split_whitespace();
            let method = words.next().unwrap_or("").to_owned();
            let target = words.next().unwrap_or("/").to_owned();
            let mut length = 0usize;
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
                    break;
                }
                if let Some(n) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap_or(0);
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let now = jiff::Timestamp::from_millisecond(T0 + 295_000).expect("a valid time");
            let (code, text) = http::handle(&store, &method, path, query, &body, now);
            let _ = write!(
                stream,
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{text}",
                text.len()
            );
        }
    });
    format!("http://{address}")
}

#[test]
fn promtool_reads_every_answer() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("skipped: no promtool here (Debian's prometheus package has it)");
        return;
    }
    let url = serve(store());
    let run = |args: &[&str]| {
        let out = Command::new("promtool")
            .arg("query")
            .args(args)
            .output()
            .expect("it starts");
        let text = |b: &[u8]| String::from_utf8_lossy(b).trim().to_owned();
        (out.status.success(), text(&out.stdout), text(&out.stderr))
    };
    let time = "--time=2026-01-01T00:04:55Z";
    let (ok, out, err) = run(&["instant", time, &url, "avg(gpu) by (job)"]);
    assert!(ok, "{err}");
    assert_eq!(out, "{job=\"dcgm\"} => 59 @[1767225895]");
    let (ok, out, err) = run(&["instant", time, &url, "rate(requests_total[2m])"]);
    assert!(ok, "{err}");
    assert_eq!(out, "{job=\"dcgm\", pod=\"a\"} => 1 @[1767225895]");
    let range = [
        "range",
        "--start=1767225600",
        "--end=1767225660",
        "--step=30s",
    ];
    let (ok, out, err) = run(&[&range[..], &[&url, "gpu"]].concat());
    assert!(ok, "{err}");
    let want =
        "gpu{job=\"dcgm\", pod=\"a\"} =>\n0 @[1767225600]\n6 @[1767225630]\n12 @[1767225660]";
    assert_eq!(out, want);
    let span = ["--start=2026-01-01T00:00:00Z", "--end=2026-01-01T00:05:00Z"];
    let (ok, out, err) = run(&[&["series", "--match=gpu"], &span[..], &[&url]].concat());
    assert!(ok, "{err}");
    assert_eq!(out, "{__name__=\"gpu\", job=\"dcgm\", pod=\"a\"}");
    let (ok, out, err) = run(&[&["labels"], &span[..], &[&url, "pod"]].concat());
    assert!(ok, "{err}");
    assert_eq!(out, "a");
    let (ok, _, err) = run(&["instant", &url, "sum("]);
    assert!(!ok && err.contains("parse error"), "{err}");
}
