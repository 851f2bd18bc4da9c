//! Telling what happens: a live panel with lines above it on a terminal, plain
//! lines elsewhere, or one JSON object a line.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use lab::Lab;
use lab::front::Doors;
use lab::narrate::Line;
use lab::pacer::Speed;
use lab::story::Told;
use serde_json::json;

use super::panel::Panel;

/// Where the telling goes.
pub struct Teller {
    way: Way,
    frame: Duration,
    /// Lines of this frame, for a terminal: equal ones are told once.
    waiting: Vec<(Line, usize)>,
}

enum Way {
    Plain,
    Json,
    /// The panel, and the logs to show above it.
    Terminal(Box<Panel>, Receiver<String>),
}

impl Teller {
    /// A teller for standard output as it is.
    pub fn new(format: &str, speed: Speed, lab: &Lab) -> Self {
        let way = if format == "json" {
            Way::Json
        } else if io::stdout().is_terminal() && speed != Speed::Max {
            // A terminal too small for the panel, or one that does not answer,
            // gets plain lines.
            let rows = lab.options.pools.len();
            match Panel::open(rows) {
                Some(panel) => Way::Terminal(Box::new(panel), crate::log::take()),
                None => Way::Plain,
            }
        } else {
            Way::Plain
        };
        let frame = match (&way, speed) {
            // Ten frames a real second.
            (Way::Terminal(..), Speed::Times(times)) => Duration::from_secs_f64(0.1 * times),
            _ => Duration::from_secs(60),
        };
        Self {
            way,
            frame,
            waiting: Vec::new(),
        }
    }

    /// Simulated time between two frames.
    pub fn frame(&self) -> Duration {
        self.frame
    }

    /// Says where things are and what is simulated.
    pub fn start(&mut self, lab: &Lab, doors: Option<&Doors>, speed: Speed) -> Result<()> {
        let speed = match speed {
            Speed::Max => "as fast as it computes".to_owned(),
            Speed::Times(times) => format!("{times} simulated seconds a second"),
        };
        if let Way::Json = self.way {
            let start = json!({
                "time": lab.cluster.now(), "topic": "start", "speed": speed,
                "kubeconfig": doors.map(|d| d.kubeconfig.path()),
                "kubernetes": doors.map(|d| format!("https://{}", d.kubernetes)),
                "prometheus": doors.map(|d| format!("http://{}", d.prometheus)),
            });
            return self.say(&start.to_string());
        }
        let mut text = Vec::new();
        if let Some(doors) = doors {
            text.push(format!(
                "export KUBECONFIG={}",
                doors.kubeconfig.path().display()
            ));
            text.push(format!(
                "# Prometheus API of the embedded store: http://{}",
                doors.prometheus
            ));
        }
        text.push(format!(
            "# Kubernetes v1.37.2 (embedded), {speed}, seed {}",
            lab.options.seed
        ));
        for pool in &lab.options.pools {
            text.push(format!("# pool {pool}"));
        }
        let left: Vec<&str> = lab.options.without.iter().map(|c| c.name()).collect();
        if !left.is_empty() {
            text.push(format!(
                "# left to programs beside the lab: {}",
                left.join(", ")
            ));
        }
        let d = &lab.options.delays;
        text.push(format!(
            "# simulated delays: sample {:?}, scrape {:?}, HPA period {:?}, GPUs shown {:?} after \
             Ready, pod start {:?}, node unneeded {:?}",
            d.sample, d.scrape, d.hpa_period, d.gpu_ready, d.pod_start, d.unneeded
        ));
        text.iter().try_for_each(|line| self.say(line))
    }

    /// Something that the lab did on request.
    pub fn did(&mut self, at: Timestamp, what: &str) -> Result<()> {
        self.told(at, &Told::Did(what.to_owned()))
    }

    /// A part of the story.
    pub fn told(&mut self, at: Timestamp, told: &Told) -> Result<()> {
        self.flush()?;
        let clock = at.strftime("%H:%M:%S");
        if let Way::Json = self.way {
            let text = match told {
                Told::Step { number, of, say } => {
                    json!({"step": number, "of": of, "say": say})
                }
                Told::Did(what) => json!({"did": what}),
                Told::Reached { check, after } => {
                    json!({"reached": check, "after_seconds": after.as_secs_f64()})
                }
                Told::Holds(check) => json!({"holds": check}),
            };
            return self.say(&json!({"time": at, "topic": "story", "story": text}).to_string());
        }
        match told {
            Told::Step { number, of, say } => {
                self.say("")?;
                let say = say.as_deref().unwrap_or("");
                match &mut self.way {
                    Way::Terminal(panel, _) => {
                        panel.step(&format!("[{number}/{of}] {say}"))?;
                        Ok(())
                    }
                    _ => {
                        for (n, row) in wrap(say, 90).iter().enumerate() {
                            let head = if n == 0 {
                                format!("[{number}/{of}]")
                            } else {
                                String::new()
                            };
                            self.say(&format!("{head:<8}{row}"))?;
                        }
                        Ok(())
                    }
                }
            }
            Told::Did(what) => self.say(&format!("{clock} > {what}")),
            Told::Reached { check, after } => {
                self.say(&format!("{clock} = {check}  (after {})", short(*after)))
            }
            Told::Holds(check) => self.say(&format!("{clock} = {check}")),
        }
    }

    /// A line of the event log.
    pub fn line(&mut self, line: &Line) -> Result<()> {
        match &self.way {
            Way::Json => {
                let text = serde_json::to_string(line)?;
                self.say(&text)
            }
            Way::Plain => self.say(&line.to_string()),
            Way::Terminal(..) => {
                let same = |(other, _): &&mut (Line, usize)| {
                    other.what == line.what && other.text == line.text
                        || other.what == line.what
                            && other.topic == line.topic
                            && similar(other, line)
                };
                match self.waiting.iter_mut().find(same) {
                    Some((_, count)) => *count += 1,
                    None => self.waiting.push((line.clone(), 1)),
                }
                Ok(())
            }
        }
    }

    /// Draws the panel, where there is one.
    pub fn draw(&mut self, lab: &Lab) -> Result<()> {
        self.flush()?;
        if let Way::Terminal(panel, logs) = &mut self.way {
            for line in logs.try_iter() {
                panel.above(&line, true)?;
            }
            panel.draw(&lab.snapshot())?;
        }
        Ok(())
    }

    /// The story is over, and the lab stays up if clients can reach it.
    pub fn end_of_story(&mut self, stays: bool) -> Result<()> {
        if let Way::Json = self.way {
            return Ok(());
        }
        self.flush()?;
        self.say("")?;
        if stays {
            self.say("The story is over; the lab stays up. Use kubectl from another terminal, Ctrl-C ends it.")
        } else {
            self.say("The story is over.")
        }
    }

    /// Gives the terminal back.
    pub fn finish(&mut self, lab: &Lab) -> Result<()> {
        self.draw(lab)?;
        if let Way::Terminal(panel, _) = &mut self.way {
            panel.close()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        for (line, count) in std::mem::take(&mut self.waiting) {
            let times = if count > 1 {
                format!("  (and {} more)", count - 1)
            } else {
                String::new()
            };
            if let Way::Terminal(panel, _) = &mut self.way {
                panel.above(&format!("{line}{times}"), line.warning)?;
            }
        }
        Ok(())
    }

    fn say(&mut self, text: &str) -> Result<()> {
        if let Way::Terminal(panel, _) = &mut self.way {
            panel.above(text, false)?;
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            // The reader of the pipe has had enough (`| head`).
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
            other => Ok(other?),
        }
    }
}

/// Nobody reads standard output any more (`| head`).
#[derive(Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

/// Whether two lines differ only in the names of pods in their texts.
fn similar(a: &Line, b: &Line) -> bool {
    let words = |text: &str| text.split_whitespace().count();
    let head = |text: &str| text.split(['-', ':', '/']).next().unwrap_or("").to_owned();
    words(&a.text) == words(&b.text)
        && head(&a.text) == head(&b.text)
        && head(&a.object) == head(&b.object)
}

/// `3m25s`
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, _) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split_whitespace() {
        let row = rows.last_mut().expect("starts with one row");
        if row.is_empty() {
            row.push_str(word);
        } else if row.len() + 1 + word.len() <= width {
            row.push(' ');
            row.push_str(word);
        } else {
            rows.push(word.to_owned());
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_between_words_only() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(short(Duration::from_secs(42)), "42s");
        assert_eq!(short(Duration::from_secs(205)), "3m25s");
        assert_eq!(short(Duration::from_secs(600)), "10m");
    }
}
