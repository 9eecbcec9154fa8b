//! What every metadata store must do, as one suite: whoever writes a store runs [`run_suite`] on it.
//!
//! Owns the cases by subject, a naive [`model`] of the whole, and [`random`] sequences of operations
//! compared with it. Knows nothing of how a store is built: it sees the traits only.

pub(crate) mod admission;
pub(crate) mod blobs;
pub(crate) mod circles;
pub(crate) mod collection;
pub(crate) mod directory;
pub(crate) mod kit;
pub(crate) mod log;
pub(crate) mod manifests;
pub(crate) mod model;
pub(crate) mod paging;
pub(crate) mod random;
pub(crate) mod revocations;
pub(crate) mod tags;
pub(crate) mod uploads;
pub(crate) mod usage;
pub(crate) mod visibility;

pub(crate) use kit::Fixture;

/// Makes one test of each case of the suite. `$make` is a function that returns a [`Fixture`] with an
/// empty store.
macro_rules! run_suite {
    ($make:path) => {
        $crate::metadata::suite::run_suite! { @each $make;
            blobs::a_committed_blob_is_the_repositories_own,
            blobs::pins_keep_and_reads_do_not,
            blobs::a_mount_gives_what_the_source_has,
            blobs::unlink_refuses_what_manifests_name,
            blobs::the_second_copy_is_trash,
            blobs::a_commit_after_the_end_changes_nothing,
            blobs::a_damaged_blob_is_replaced_by_the_next_copy,
            blobs::the_copy_that_came_again_is_not_quarantined,
            blobs::a_copy_that_is_whole_after_all_leaves_quarantine,
            blobs::concurrent_commits_keep_one_copy,
            uploads::progress_is_remembered_until_the_end,
            uploads::a_key_is_never_handed_out_twice,
            uploads::silence_ends_an_upload,
            uploads::uploads_come_in_pages,
            uploads::each_account_has_some_uploads_without_room,
            usage::it_follows_links_and_manifests,
            usage::it_ends_with_what_is_collected,
            usage::a_copy_costs_nothing_where_there_is_one,
            usage::two_uploads_do_not_share_room,
            usage::a_reservation_grows_and_shrinks_with_its_upload,
            usage::a_commit_is_refused_where_there_is_no_room_any_more,
            usage::a_mount_takes_room,
            usage::objects_are_limited_as_well,
            usage::what_speaks_of_another_has_room_in_a_full_namespace,
            usage::the_first_quota_that_is_full_refuses,
            usage::of_16_at_once_as_many_come_as_fit,
            manifests::everything_missing_is_listed,
            manifests::counts_follow_what_is_named,
            manifests::a_second_put_changes_nothing,
            manifests::an_index_gets_its_child_back,
            manifests::subjects_come_before_or_after,
            manifests::deletion_takes_mutable_tags_along,
            manifests::conditions_on_a_digest_are_kept,
            manifests::what_may_only_be_named_is_not_added,
            tags::an_immutable_tag_never_moves,
            tags::a_tombstone_burns_the_name,
            tags::a_mutable_tag_moves_and_leaves_no_trace,
            tags::conditions_are_kept,
            tags::of_64_writers_exactly_one_wins,
            tags::a_rule_that_came_later_holds_for_earlier_tags,
            tags::a_list_of_evidence_stays_while_a_release_keeps_its_subject,
            tags::a_statement_stays_while_its_subject_has_a_tag,
            tags::a_verdict_counts_while_its_policy_and_evidence_are_there,
            tags::evidence_lists_only_grow,
            tags::an_evidence_list_keeps_each_signature_over_one_payload,
            tags::evidence_lists_are_seen_beside_their_subject_only,
            tags::several_tags_are_set_together_or_not_at_all,
            tags::a_hidden_release_is_shown_by_a_new_admission,
            visibility::staged_content_is_invisible,
            visibility::a_release_shows_all_that_it_leads_to,
            visibility::a_referrer_is_seen_with_its_subject,
            visibility::deleting_the_tag_hides_again,
            visibility::several_ways_count_each,
            visibility::hiding_a_tag_hides_what_it_leads_to,
            visibility::what_a_release_holds_cannot_be_deleted,
            visibility::evidence_shows_nothing_but_evidence_of_the_same,
            visibility::a_list_of_evidence_shows_nothing_but_evidence,
            visibility::a_list_of_evidence_is_what_its_name_says,
            visibility::lists_about_all_that_a_release_leads_to_are_seen_with_it,
            visibility::a_list_waits_for_what_it_speaks_of,
            visibility::a_list_waits_for_what_it_lists,
            visibility::a_tag_that_moves_takes_the_lists_along,
            circles::an_index_cannot_speak_of_its_own_child,
            circles::longer_circles_are_refused_as_well,
            circles::a_circle_cannot_be_closed_by_a_return,
            circles::lists_about_each_other_come_to_an_end,
            circles::no_circle_of_names_outlives_a_release,
            admission::a_release_needs_one,
            admission::one_for_something_else_does_not_count,
            admission::one_of_an_older_policy_does_not_count,
            admission::its_evidence_must_still_be_there,
            admission::what_came_after_it_was_judged_is_seen,
            admission::what_is_shown_on_an_exception_is_counted,
            revocations::a_revocation_is_kept_for_ever,
            revocations::what_nobody_can_compare_is_not_kept,
            revocations::a_revocation_is_heeded_in_every_repository,
            paging::tags_come_in_pages,
            paging::referrers_come_in_pages,
            paging::a_page_of_referrers_is_no_longer_than_can_be_read,
            paging::repositories_come_in_pages,
            paging::events_come_in_order,
            paging::holders_and_all_blobs_come_in_pages,
            collection::nothing_that_is_needed_goes,
            collection::garbage_goes_from_the_top_down,
            collection::untagged_manifests_stay_unless_told,
            collection::trash_waits_for_its_time,
            collection::trash_comes_in_pages,
            collection::a_manifest_that_was_asked_for_stays,
            collection::a_dry_run_predicts_and_changes_nothing,
            collection::a_dry_run_over_many_links_comes_to_its_end,
            collection::small_steps_do_what_one_does,
            collection::no_step_gives_up_more_uploads_than_it_looks_at,
            collection::collecting_beside_writers_loses_nothing,
            log::events_become_entries_in_order,
            log::the_size_of_steps_changes_no_event,
            log::statements_are_entries,
            log::one_signature_is_one_entry,
            log::tiles_are_those_of_the_entries,
            log::keys_that_no_entry_can_hold_do_not_stop_the_log,
            log::a_checkpoint_of_another_tree_is_not_kept,
            directory::accounts_are_inserted_replaced_and_removed,
            directory::of_many_who_want_one_name_one_gets_it,
            directory::changes_of_an_account_do_not_undo_each_other,
            directory::administrators_who_shut_out_each_other_leave_one,
            directory::whoever_was_shut_out_changes_nothing,
            directory::tokens_are_kept_by_owner,
            directory::tokens_end_with_the_account_whose_they_were,
            directory::an_account_has_so_many_tokens_and_no_more,
            directory::an_account_of_the_file_lasts_as_long_as_its_mark,
            directory::the_last_run_of_a_job_is_remembered,
            directory::values_of_the_server_are_made_once,
            directory::every_key_for_statements_is_kept,
        }
    };
    (@each $make:path; $($area:ident::$case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = $make();
                $crate::metadata::suite::$area::$case(fixture.store.clone()).await;
            }
        )*
    };
}
pub(crate) use run_suite;
