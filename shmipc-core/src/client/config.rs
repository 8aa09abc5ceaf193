//! What a client is made with.

use std::time::Duration;

use crate::config::Config;
use crate::error::ConfigError;

/// Everything a client is created with. Made by [`ClientConfig::builder`], or from a [`Config`] with
/// the defaults for the rest.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    session: Config,
    sessions: usize,
    first_pause: Duration,
    longest_pause: Duration,
    repeats_unseen: bool,
    move_spread: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Config::default().into()
    }
}

impl From<Config> for ClientConfig {
    fn from(session: Config) -> Self {
        Self {
            session,
            sessions: 1,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(256),
            repeats_unseen: true,
            move_spread: Duration::from_millis(50),
        }
    }
}

impl ClientConfig {
    /// A builder that starts from the defaults.
    pub fn builder() -> ClientConfigBuilder {
        ClientConfigBuilder { config: Self::default() }
    }

    /// What each session is created with.
    pub fn session(&self) -> &Config {
        &self.session
    }

    /// How many sessions there are at most.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// The first pause between attempts to connect, and the longest.
    pub fn pauses(&self) -> (Duration, Duration) {
        (self.first_pause, self.longest_pause)
    }

    /// Whether calls repeat what was certainly not seen.
    pub fn repeats_unseen(&self) -> bool {
        self.repeats_unseen
    }

    /// Within which time an idle client follows a server that leaves.
    pub fn move_spread(&self) -> Duration {
        self.move_spread
    }
}

/// Builds a [`ClientConfig`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientConfigBuilder {
    config: ClientConfig,
}

impl ClientConfigBuilder {
    /// What each session is created with; its `connect_timeout` limits each attempt to connect.
    pub fn session(mut self, config: Config) -> Self {
        self.config.session = config;
        self
    }

    /// How many sessions the client spreads its streams over, 1 to 64, made as they are needed. Default 1,
    /// which is right for most: all threads share it. More are worth their memory and descriptors
    /// where several workers accept on the address, each of which serves some sessions; where more streams
    /// are open at a time than the server's `max_streams`; and where threads on many CPUs are held up by the
    /// locks of one session.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.config.sessions = sessions;
        self
    }

    /// The pause after an attempt to connect that did not lead to an answered call: the first one, which
    /// doubles up to the longest. Each is shortened at random by up to a half. Default 1 ms and 256 ms.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.config.first_pause, self.config.longest_pause) = (first, longest);
        self
    }

    /// Whether calls send a request again that the server has certainly not seen, until their deadline.
    /// Default true. What it may have seen is never repeated.
    pub fn repeat_unseen(mut self, repeat: bool) -> Self {
        self.config.repeats_unseen = repeat;
        self
    }

    /// An idle client follows a server that leaves after a random time from zero to this. Default 50 ms.
    pub fn move_spread(mut self, spread: Duration) -> Self {
        self.config.move_spread = spread;
        self
    }

    /// Checks every value against its bounds.
    ///
    /// # Errors
    /// [`ConfigError`] names the first that is out of bounds and what it may be.
    pub fn build(self) -> Result<ClientConfig, ConfigError> {
        let config = self.config;
        if !(1..=64).contains(&config.sessions) {
            return Err(ConfigError { limit: "sessions", must: "lie between 1 and 64" });
        }
        let hour = Duration::from_secs(3600);
        let (first, longest) = config.pauses();
        if first < Duration::from_micros(1) || first > longest || longest > hour {
            let must = "grow: 1 µs <= first <= longest <= 1 h";
            return Err(ConfigError { limit: "pauses", must });
        }
        if config.move_spread > hour {
            return Err(ConfigError { limit: "move_spread", must: "be at most 1 h" });
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_bounds_are_named() {
        let limit = |builder: ClientConfigBuilder| builder.build().map_err(|error| error.limit);
        let builder = ClientConfig::builder;
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(1));
        assert!(limit(builder()).is_ok());
        assert!(limit(builder().sessions(64).pauses(short, long).move_spread(short)).is_ok());
        assert_eq!(limit(builder().sessions(0)).err(), Some("sessions"));
        assert_eq!(limit(builder().sessions(65)).err(), Some("sessions"));
        assert_eq!(limit(builder().pauses(long, short)).err(), Some("pauses"));
        assert_eq!(limit(builder().pauses(Duration::ZERO, short)).err(), Some("pauses"));
        assert_eq!(limit(builder().move_spread(Duration::MAX)).err(), Some("move_spread"));
    }
}
