//! Tests that need more than one crate, or a real Envoy. Each file is named by the question it answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod a_bad_release_is_rolled_back;
mod a_configuration_change_loses_nothing;
mod a_context_that_goes_leaves_nothing_behind;
mod a_grpc_error_is_an_error;
mod a_release_guard_is_a_service;
mod a_requests_whole_life;
mod a_rollback_in_the_cluster;
mod a_rollback_that_nobody_follows_is_said;
mod a_trap_fails_no_request;
mod bootstraps_are_valid;
mod both_sidecars_of_a_request;
mod documents_name_real_paths;
mod envoy_fetches_the_filter;
mod envoys_own_access_log_agrees;
mod every_request_is_counted_once;
mod labels_come_from_where_they_should;
mod manifests_match_the_schemas;
mod nothing_is_lost_or_doubled;
mod the_aggregator_may_be_absent;
mod the_death_of_the_proxy;
mod the_filter_imports_only_what_envoy_gives;
mod the_filter_is_bounded;
mod the_filter_understands_what_is_shipped;
mod the_load_is_what_it_says;
mod what_a_bad_report_does;
mod what_hangs_is_known_before_it_times_out;
mod what_the_aggregator_answers;
mod what_was_counted_is_kept;
