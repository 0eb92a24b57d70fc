//! The transactional producer, and what its errors mean to the pipeline.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use catchment_core::{Domain, Error, Result, Retry};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

/// Each of: taking over the transactional id, delivering a chunk, ending a transaction.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Hears what the clients say and keeps the first failed delivery of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Context {
    undelivered: Mutex<Option<String>>,
    /// What a client last said to be wrong with its connections.
    trouble: Mutex<Option<String>>,
}

impl Context {
    /// What was last wrong with the connections, in the client's words.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("no holder panics").clone()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "kafka client");
            }
            _ => tracing::warn!(facility, message, "kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error {
            // Readers ask for it, and it is the end of what they came for.
            KafkaError::Global(Code::PartitionEOF) => tracing::debug!(reason, "kafka client"),
            error => {
                tracing::warn!(%error, reason, "kafka client");
                // That nobody is left says less than why the last one went.
                if error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
                    *self.trouble.lock().expect("no holder panics") = Some(reason.to_owned());
                }
            }
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut first = self.undelivered.lock().expect("no holder panics");
            first.get_or_insert_with(|| format!("a record of topic {} was not delivered: {error}", message.topic()));
        }
    }
}

/// A producer that has taken over its transactional id.
pub(crate) struct Producer {
    inner: BaseProducer<Context>,
}

impl Producer {
    /// Connects and fences whoever held the id; transactions left open are aborted by that.
    pub(crate) fn open(config: &ClientConfig) -> Result<Self> {
        let inner = config
            .create_with_context(Context::default())
            .map_err(|e| Error::user(format!("kafka producer: {e}; check `properties`")))?;
        let producer = Self { inner };
        producer.inner.init_transactions(CALL_TIMEOUT).map_err(|e| producer.failed("taking over the stream", e))?;
        Ok(producer)
    }

    pub(crate) fn begin(&self) -> Result<()> {
        self.inner.begin_transaction().map_err(|e| self.failed("beginning a transaction", e))
    }

    /// Queues a record; waits while the queue is full.
    pub(crate) fn send(&self, mut record: BaseRecord<'_, str, [u8]>) -> Result<()> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            record = match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < deadline => back,
                Err((error, back)) => return Err(self.failed(&format!("writing to topic {}", back.topic), error)),
            };
            self.inner.poll(Duration::from_millis(50));
        }
    }

    /// Serves delivery reports without waiting.
    pub(crate) fn poll(&self) {
        self.inner.poll(Duration::ZERO);
    }

    pub(crate) fn commit(&self) -> Result<()> {
        self.inner.commit_transaction(CALL_TIMEOUT).map_err(|e| self.failed("committing a transaction", e))
    }

    /// Aborts what is open, as far as that is possible: opening again does it too.
    pub(crate) fn abort(&self) {
        if self.inner.client().fatal_error().is_some() {
            return;
        }
        // The abort waits for every delivery report and serves none, so they are served first.
        let served = self.inner.flush(CALL_TIMEOUT);
        if let Err(error) = served.and_then(|()| self.inner.abort_transaction(CALL_TIMEOUT)) {
            tracing::warn!(%error, "kafka transaction not aborted; opening again will");
        }
    }

    /// The error in the pipeline's words. A fatal state of the producer outweighs the call's own
    /// error, and a failed delivery explains a commit that was refused.
    fn failed(&self, doing: &str, error: KafkaError) -> Error {
        let fatal = self.inner.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or_else(|| error.rdkafka_error_code());
        let undelivered = self.inner.context().undelivered.lock().expect("no holder panics").take();
        let (domain, retry, mend) = code.map_or((Domain::External, Retry::Reopen, ""), meaning);
        let detail = [fatal.map(|(_, text)| text), undelivered].into_iter().flatten();
        let message = std::iter::once(format!("kafka: {doing} failed{mend}")).chain(detail).collect::<Vec<_>>();
        Error::new(domain, retry, message.join(": ")).caused_by(error)
    }
}

/// Who can mend an error code, what to do next, and the mend in words.
fn meaning(code: Code) -> (Domain, Retry, &'static str) {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => (
            Domain::External,
            Retry::Never,
            ", another process took this stream over, or this one stood still for longer than a transaction may; \
             run one process for each stream and sink name",
        ),
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            (Domain::User, Retry::Never, ", not allowed; grant write on the topics and on the transactional id")
        }
        Code::MessageSizeTooLarge => (
            Domain::User,
            Retry::Never,
            ", a record is too large; raise `message.max.bytes` in properties and `max.message.bytes` of the topic",
        ),
        _ => (Domain::External, Retry::Reopen, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_producer_must_not_come_back_and_a_lost_broker_may() {
        assert_eq!(meaning(Code::Fenced).1, Retry::Never);
        assert_eq!(meaning(Code::ProducerFenced).1, Retry::Never);
        assert_eq!(meaning(Code::BrokerTransportFailure).1, Retry::Reopen);
        assert_eq!(meaning(Code::OutOfOrderSequenceNumber).1, Retry::Reopen);
    }

    #[test]
    fn what_only_a_person_can_grant_is_not_retried() {
        assert_eq!(meaning(Code::TopicAuthorizationFailed).0, Domain::User);
        assert_eq!(meaning(Code::TopicAuthorizationFailed).1, Retry::Never);
    }
}
