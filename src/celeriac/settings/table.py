"""Every setting: name, kind, default and one line. Data only: who reads which is the readers' business.

Names and defaults are Celery 5.7's (guide: "Configuration and defaults"), save two that are `None` here so that
"not set" can be told from a choice: `task_acks_late` (unset means acknowledged after the run) and
`worker_pool_start_method` (unset means whichever is safe). What is celeriac's own stands at the end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

__all__ = ["OWN", "SETTINGS", "Setting", "default_of"]


class Setting(NamedTuple):
    """One row."""

    name: str
    #: str, bytes, int, float, bool, list, tuple, dict or any. Times are seconds unless the name says otherwise.
    kind: str
    default: Any
    doc: str


_MESSAGE_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
_TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

_GENERAL = (
    Setting("accept_content", "list", ("json",), "Content types and serializer names that are read from messages."),
    Setting("result_accept_content", "list", None, "The same for results; None: as accept_content."),
    Setting("enable_utc", "bool", True, "Dates in messages are UTC."),
    Setting("imports", "tuple", (), "Modules a worker imports when it starts."),
    Setting("include", "tuple", (), "Modules a worker imports after `imports`."),
    Setting("timezone", "str", None, "Name of the zone for local times, e.g. Asia/Shanghai; None: UTC."),
)

_BEAT = (
    Setting("beat_enable_remote_control", "bool", False, "The scheduler answers remote control."),
    Setting("beat_remote_control_max_tick_age", "float", None, "A last tick older than this counts as stalled."),
    Setting("beat_max_loop_interval", "float", 0, "Longest sleep of the scheduler; 0: its own choice."),
    Setting("beat_schedule", "dict", {}, "Periodic tasks by name."),
    Setting("beat_scheduler", "str", "celery.beat:PersistentScheduler", "The scheduler class."),
    Setting("beat_schedule_filename", "str", "celerybeat-schedule", "File in which last runs are remembered."),
    Setting("beat_sync_every", "int", 0, "Runs between writes of that file; 0: by time."),
    Setting("beat_cron_starting_deadline", "int", None, "Missed crontab runs older than this are skipped."),
)

_BROKER = (
    Setting("broker_url", "str", None, "Where messages go, several with `;`. None: the embedded queue."),
    Setting("broker_read_url", "str", None, "Where workers consume, if elsewhere."),
    Setting("broker_write_url", "str", None, "Where producers publish, if elsewhere."),
    Setting("broker_transport", "str", None, "Kind of broker, where broker_url is only a host name."),
    Setting("broker_transport_options", "dict", {}, "Options of the kind of broker."),
    Setting("broker_connection_timeout", "float", 4, "Deadline for connecting, and for each command."),
    Setting("broker_connection_retry", "bool", True, "A worker reconnects when the broker goes away."),
    Setting("broker_connection_retry_on_startup", "bool", None, "The same for the first connection; None: as above."),
    Setting("broker_connection_max_retries", "int", 100, "Attempts before a worker gives up; None or 0: for ever."),
    Setting("broker_channel_error_retry", "bool", False, "A worker also retries after channel errors."),
    Setting("broker_failover_strategy", "str", None, "Order in which several brokers are tried: round-robin, shuffle."),
    Setting("broker_heartbeat", "int", 120, "Seconds between AMQP heartbeats."),
    Setting("broker_heartbeat_checkrate", "int", 3.0, "Checks per heartbeat interval."),
    Setting("broker_login_method", "str", None, "SASL mechanism of AMQP."),
    Setting("broker_native_delayed_delivery_queue_type", "str", "quorum", "Kind of RabbitMQ's delay queues."),
    Setting("broker_pool_limit", "int", 10, "Connections that producers of one process share; 0 or None: no sharing."),
    Setting("broker_pool_acquire_timeout", "float", None, "Longest wait for one of them; None: as long as it takes."),
    Setting("broker_use_ssl", "bool", False, "TLS: True, or a dict of ssl options."),
    Setting("broker_host", "str", None, "Old way to say the URL's host."),
    Setting("broker_port", "int", None, "Old way to say the URL's port."),
    Setting("broker_user", "str", None, "User, where the URL has none."),
    Setting("broker_password", "str", None, "Password, where the URL has none."),
    Setting("broker_vhost", "str", None, "Virtual host, where the URL has none."),
)

_STORES = (
    Setting("cache_backend", "str", None, "Where the cache backend keeps results."),
    Setting("cache_backend_options", "dict", {}, "Options of its client."),
    Setting("cassandra_entry_ttl", "float", None, "Seconds Cassandra keeps a result; None: for ever."),
    Setting("cassandra_keyspace", "str", None, "Keyspace of the table."),
    Setting("cassandra_port", "str", None, "Port of the servers."),
    Setting("cassandra_read_consistency", "str", None, "Consistency level of reads."),
    Setting("cassandra_servers", "list", None, "Host names."),
    Setting("cassandra_bundle_path", "str", None, "Secure-connect bundle of Astra."),
    Setting("cassandra_table", "str", None, "Table of the results."),
    Setting("cassandra_write_consistency", "str", None, "Consistency level of writes."),
    Setting("cassandra_auth_provider", "str", None, "Class of the auth provider."),
    Setting("cassandra_auth_kwargs", "str", None, "Its arguments."),
    Setting("cassandra_options", "dict", {}, "Further arguments of the cluster object."),
    Setting("s3_access_key_id", "str", None, "Access key."),
    Setting("s3_secret_access_key", "str", None, "Secret key."),
    Setting("s3_bucket", "str", None, "Bucket of the results."),
    Setting("s3_base_path", "str", None, "Prefix of the keys."),
    Setting("s3_endpoint_url", "str", None, "Endpoint, where it is not Amazon's."),
    Setting("s3_region", "str", None, "Region."),
    Setting("azureblockblob_container_name", "str", "celery", "Container of the results."),
    Setting("azureblockblob_retry_initial_backoff_sec", "int", 2, "First wait before a retry."),
    Setting("azureblockblob_retry_increment_base", "int", 2, "Growth of that wait."),
    Setting("azureblockblob_retry_max_attempts", "int", 3, "Most attempts."),
    Setting("azureblockblob_base_path", "str", "", "Prefix of the blobs."),
    Setting("azureblockblob_connection_timeout", "int", 20, "Deadline for connecting."),
    Setting("azureblockblob_read_timeout", "int", 120, "Deadline for reading."),
    Setting("gcs_bucket", "str", None, "Bucket of the results."),
    Setting("gcs_project", "str", None, "Google Cloud project."),
    Setting("gcs_base_path", "str", "", "Prefix of the objects."),
    Setting("gcs_ttl", "float", 0, "Seconds a result is kept; 0: the bucket's own policy."),
    Setting("couchbase_backend_settings", "dict", None, "Connection to Couchbase."),
    Setting("arangodb_backend_settings", "dict", None, "Connection to ArangoDB."),
    Setting("mongodb_backend_settings", "dict", None, "Connection to MongoDB."),
    Setting("cosmosdbsql_database_name", "str", "celerydb", "Database."),
    Setting("cosmosdbsql_collection_name", "str", "celerycol", "Collection."),
    Setting("cosmosdbsql_consistency_level", "str", "Session", "Consistency level."),
    Setting("cosmosdbsql_max_retry_attempts", "int", 9, "Most attempts."),
    Setting("cosmosdbsql_max_retry_wait_time", "int", 30, "Longest wait for all of them."),
    Setting("redis_backend_use_ssl", "dict", None, "TLS of the Redis backend: ssl options."),
    Setting("redis_db", "int", None, "Database, where the URL has none."),
    Setting("redis_host", "str", None, "Host, where the URL has none."),
    Setting("redis_max_connections", "int", None, "Most connections of the backend."),
    Setting("redis_username", "str", None, "User, where the URL has none."),
    Setting("redis_password", "str", None, "Password, where the URL has none."),
    Setting("redis_port", "int", None, "Port, where the URL has none."),
    Setting("redis_socket_timeout", "float", 120.0, "Deadline of reads and writes."),
    Setting("redis_socket_connect_timeout", "float", None, "Deadline for connecting; None: the one above."),
    Setting("redis_retry_on_timeout", "bool", False, "Try again after a timeout."),
    Setting("redis_socket_keepalive", "bool", False, "TCP keep-alive."),
    Setting("elasticsearch_retry_on_timeout", "bool", None, "Try again after a timeout."),
    Setting("elasticsearch_max_retries", "int", None, "Most attempts."),
    Setting("elasticsearch_timeout", "float", None, "Deadline of a request."),
    Setting("elasticsearch_save_meta_as_text", "bool", True, "Store results as text, not as an object."),
    Setting("database_url", "str", None, "Where the SQL backend keeps results, if result_backend does not say."),
    Setting("database_engine_options", "dict", {"pool_pre_ping": True, "pool_recycle": 3600}, "Engine arguments."),
    Setting("database_engine_callback", "any", None, "Called with each engine that is made."),
    Setting("database_short_lived_sessions", "bool", False, "A session per operation, closed after it."),
    Setting("database_table_schemas", "dict", None, "Schemas by table: task, group."),
    Setting("database_table_names", "dict", None, "Names by table: task, group."),
    Setting("database_create_tables_at_setup", "bool", True, "Create missing tables when the backend is set up."),
)

_EVENTS_AND_CONTROL = (
    Setting("control_queue_ttl", "float", 300.0, "Seconds a control message waits at most."),
    Setting("control_queue_expires", "float", 10.0, "Seconds an unused control queue stays."),
    Setting("control_queue_exclusive", "bool", True, "Control queues belong to one connection."),
    Setting("control_queue_durable", "bool", False, "Control queues survive the broker."),
    Setting("control_exchange", "str", "celery", "Name of the control exchanges."),
    Setting("event_queue_expires", "float", 60.0, "Seconds an unused event queue stays."),
    Setting("event_queue_ttl", "float", 5.0, "Seconds an event waits at most."),
    Setting("event_queue_prefix", "str", "celeryev", "Prefix of event queues."),
    Setting("event_queue_exclusive", "bool", True, "Event queues belong to one connection."),
    Setting("event_queue_durable", "bool", False, "Event queues survive the broker."),
    Setting("event_serializer", "str", "json", "Serializer of events."),
    Setting("event_exchange", "str", "celeryev", "Name of the event exchange."),
)

_RESULT = (
    Setting("result_backend", "str", None, "Where results are kept. None: nowhere, save beside the embedded queue."),
    Setting("result_cache_max", "int", -1, "Results a client remembers; -1: none."),
    Setting("result_compression", "str", None, "Compression of results."),
    Setting("result_exchange", "str", "celeryresults", "Exchange of results sent as messages."),
    Setting("result_exchange_type", "str", "direct", "Its type."),
    Setting("result_expires", "float", timedelta(days=1), "Seconds (or timedelta) a result is kept; None: for ever."),
    Setting("result_chord_expires", "float", None, "The same for members of a chord; None: as above."),
    Setting("result_failure_expires", "float", None, "The same for failures; None: as above."),
    Setting("result_persistent", "bool", None, "Results sent as messages survive the broker."),
    Setting("result_extended", "bool", False, "Results tell name, arguments, worker, queue and retries too."),
    Setting("result_serializer", "str", "json", "Serializer of results."),
    Setting("result_backend_transport_options", "dict", {}, "Options of the backend: global_keyprefix, …."),
    Setting("result_chord_retry_interval", "float", 1.0, "Wait between looks at a chord, where it cannot count."),
    Setting("result_chord_join_timeout", "float", 3.0, "Deadline for reading the members of a chord."),
    Setting("result_backend_max_sleep_between_retries_ms", "int", 10000, "Longest wait between retries, milliseconds."),
    Setting("result_backend_max_retries", "float", float("inf"), "Most retries of an operation."),
    Setting("result_backend_base_sleep_between_retries_ms", "int", 10, "First such wait, milliseconds."),
    Setting("result_backend_always_retry", "bool", False, "Retry operations that fail for the moment."),
)

_SECURITY = (
    Setting("security_certificate", "str", None, "Certificate that signs messages."),
    Setting("security_cert_store", "str", None, "Where the certificates of peers are."),
    Setting("security_key", "str", None, "Private key that signs messages."),
    Setting("security_key_password", "bytes", None, "Its password."),
    Setting("security_digest", "str", "sha256", "Digest of signatures."),
)

_RETRY_POLICY = {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}

_TASK = (
    Setting("task_acks_late", "bool", None, "True or unset: acknowledge after the run. False: before it."),
    Setting("task_acks_on_failure_or_timeout", "bool", True, "Failed tasks are acknowledged as well."),
    Setting("task_acks_on_failure", "bool", None, "The same for failures alone."),
    Setting("task_acks_on_timeout", "bool", None, "The same for time limits alone."),
    Setting("task_always_eager", "bool", False, "delay() and apply_async() run the task here and now."),
    Setting("task_annotations", "any", None, "Attributes to change on tasks, by name or pattern."),
    Setting("task_compression", "str", None, "Compression of messages."),
    Setting("task_create_missing_queues", "bool", True, "Queues that are not in task_queues are made when named."),
    Setting("task_create_missing_queue_type", "str", "classic", "Their kind in RabbitMQ."),
    Setting("task_create_missing_queue_exchange_type", "str", None, "Type of their exchange."),
    Setting("task_inherit_parent_priority", "bool", False, "Tasks sent by a task get its priority."),
    Setting("task_default_delivery_mode", "str", 2, "2 or persistent; 1 or transient."),
    Setting("task_default_queue", "str", "celery", "The queue of tasks that no route names."),
    Setting("task_default_queue_type", "str", "classic", "Its kind in RabbitMQ."),
    Setting("task_default_exchange", "str", None, "Its exchange; None: named as the queue."),
    Setting("task_default_exchange_type", "str", "direct", "Type of that exchange."),
    Setting("task_default_routing_key", "str", None, "Its routing key; None: the queue's name."),
    Setting("task_default_rate_limit", "str", None, "Rate limit of tasks that have none, e.g. 10/m."),
    Setting("task_default_priority", "int", None, "Priority of tasks that have none."),
    Setting("task_eager_propagates", "bool", False, "Tasks run eagerly raise their errors."),
    Setting("task_ignore_result", "bool", False, "Results are not kept."),
    Setting("task_store_eager_result", "bool", False, "Results of tasks run eagerly are kept."),
    Setting("task_protocol", "int", 2, "Version of the message format."),
    Setting("task_publish_retry", "bool", True, "Publishing is tried again while the broker is away."),
    Setting("task_publish_retry_policy", "dict", _RETRY_POLICY, "How often, and with which waits."),
    Setting("task_queues", "dict", None, "The queues workers consume, with their options."),
    Setting("task_queue_max_priority", "int", None, "Highest priority of queues."),
    Setting("task_reject_on_worker_lost", "bool", None, "A task whose process died goes back to its queue."),
    Setting("task_retry_on_worker_lost", "bool", False, "Such a task is retried as if it had failed."),
    Setting("task_remote_tracebacks", "bool", False, "Errors that get() raises show the worker's traceback."),
    Setting("task_repr_maxlevels", "int", 3, "Depth of arguments shown in logs and events."),
    Setting("task_routes", "any", None, "Which task goes to which queue."),
    Setting("task_send_sent_event", "bool", False, "Producers send an event for each task."),
    Setting("task_serializer", "str", "json", "Serializer of arguments."),
    Setting("task_soft_time_limit", "float", None, "Seconds after which SoftTimeLimitExceeded is raised in a task."),
    Setting("task_time_limit", "float", None, "Seconds after which the process of a task is killed."),
    Setting("task_store_errors_even_if_ignored", "bool", False, "Errors are kept where results are not."),
    Setting("task_track_started", "bool", False, "Running tasks have the state STARTED."),
    Setting("task_allow_error_cb_on_chord_header", "bool", False, "Errbacks of a chord are put on its members too."),
)

_WORKER = (
    Setting("worker_agent", "str", None, "Class of an agent to start with the worker."),
    Setting("worker_autoscaler", "str", "celery.worker.autoscale:Autoscaler", "No effect here: see worker_autoscale."),
    Setting("worker_cancel_long_running_tasks_on_connection_loss", "bool", False, "A lost broker cancels them."),
    Setting("worker_soft_shutdown_timeout", "float", 0.0, "Grace for running tasks before a cold shutdown."),
    Setting("worker_enable_soft_shutdown_on_idle", "bool", False, "The same while nothing runs."),
    Setting("worker_concurrency", "any", None, "Slots; None or auto: one for each CPU that may be used."),
    Setting("worker_consumer", "str", "celery.worker.consumer:Consumer", "Class of the consumer."),
    Setting("worker_direct", "bool", False, "Each worker also has a queue of its own."),
    Setting("worker_disable_rate_limits", "bool", False, "Rate limits are not kept."),
    Setting("worker_deduplicate_successful_tasks", "bool", False, "What succeeded is not run again."),
    Setting("worker_enable_remote_control", "bool", True, "Workers answer remote control."),
    Setting("worker_hijack_root_logger", "bool", True, "The worker replaces the handlers of the root logger."),
    Setting("worker_log_color", "bool", None, "Colours in logs; None: on terminals."),
    Setting("worker_log_datefmt", "str", None, "Format of the times in logs."),
    Setting("worker_log_format", "str", _MESSAGE_FORMAT, "Format of the worker's log lines."),
    Setting("worker_lost_wait", "float", 10.0, "Wait for the result of a lost process."),
    Setting("worker_max_memory_per_child", "int", None, "Kilobytes after which a runner is replaced."),
    Setting("worker_max_tasks_per_child", "int", None, "Tasks after which a runner is replaced."),
    Setting("worker_pool", "str", "prefork", "Where tasks run: prefork or solo."),
    Setting("worker_pool_putlocks", "bool", True, "No effect here: runners reserve for themselves."),
    Setting("worker_pool_restarts", "bool", False, "Remote control may restart the pool."),
    Setting("worker_pool_start_method", "str", None, "fork or spawn; None: whichever is safe."),
    Setting("worker_proc_alive_timeout", "float", 4.0, "Deadline for a new runner to be ready."),
    Setting("worker_prefetch_multiplier", "int", 4, "Set: most messages a slot reserves; 0: no bound."),
    Setting("worker_eta_task_limit", "int", None, "No effect here: delayed tasks wait in the broker."),
    Setting("worker_enable_prefetch_count_reduction", "bool", True, "No effect here: leases replace prefetch counts."),
    Setting("worker_disable_prefetch", "bool", False, "Nothing is reserved ahead."),
    Setting("worker_redirect_stdouts", "bool", True, "What tasks print goes to the log."),
    Setting("worker_redirect_stdouts_level", "str", "WARNING", "At this level."),
    Setting("worker_send_task_events", "bool", False, "Workers send events about tasks."),
    Setting("worker_state_db", "str", None, "No effect here: the broker remembers revoked tasks."),
    Setting("worker_task_log_datefmt", "str", None, "Format of the times in the log lines of tasks."),
    Setting("worker_task_log_format", "str", _TASK_FORMAT, "Format of the log lines of tasks."),
    Setting("worker_timer", "str", None, "Class of the timer."),
    Setting("worker_timer_precision", "float", 1.0, "Longest sleep of the timer."),
    Setting("worker_detect_quorum_queues", "bool", True, "Look whether queues are quorum queues."),
)

#: What Celery does not have.
OWN = (
    Setting("worker_lease", "float", 15.0, "A node that renews nothing for this long, seen twice, is dead (R4)."),
    Setting("task_max_strikes", "int", 3, "Deaths under one message that make it a dead letter (R5)."),
    Setting("publish_timeout", "float", 5.0, "A publish raises OperationalError after this long."),
    Setting("revokes_max", "int", 50_000, "Revocations the broker keeps; the oldest go first."),
    Setting("revokes_expire", "float", timedelta(days=30), "Seconds (or timedelta) it keeps them: an eta may be far."),
    Setting("task_dead_letter", "bool", False, "Failures that are final are kept as dead letters too."),
    Setting("task_dead_letter_requeue_after", "float", None, "Seconds after which they are sent again; None: not."),
    Setting("task_dead_letter_max_requeues", "int", 3, "So many times; then it stays."),
    Setting("queue_max_length", "any", None, "Messages producers may have waiting in a queue; or a mapping by queue."),
    Setting("queue_overflow", "str", "raise", "Beyond it: raise, block (till publish_timeout) or drop_oldest."),
    Setting("dead_letter_max", "int", 100_000, "Dead letters a queue keeps; the oldest go first."),
    Setting("dead_letter_expires", "float", timedelta(days=90), "Seconds (or timedelta) they stay; None: for ever."),
    Setting("worker_log_json", "bool", False, "The worker logs a JSON object a line; formats do not count then."),
    Setting("worker_shutdown_grace", "float", None, "What runs longer than this is requeued; None: never."),
    Setting("worker_autoscale", "any", None, "Most and least slots, such as 10,3; None: always as many."),
    Setting("worker_max_memory", "any", None, "Bytes, 500M, 2G or 80%: a node that takes more waits."),
    Setting("worker_read_ahead", "int", 128, "Most messages a runner reserves beyond its free slots."),
    Setting("worker_read_ahead_bytes", "int", 8 * 1024 * 1024, "The same in bytes of payload."),
)

#: All of them, by name.
SETTINGS: dict[str, Setting] = {
    row.name: row
    for family in (_GENERAL, _BEAT, _BROKER, _STORES, _EVENTS_AND_CONTROL, _RESULT, _SECURITY, _TASK, _WORKER, OWN)
    for row in family
}


def default_of(name: str) -> Any:
    """The default of a setting; a dict is the caller's own copy, so that changing it in place changes one app only."""
    value = SETTINGS[name].default
    return dict(value) if isinstance(value, dict) else value
