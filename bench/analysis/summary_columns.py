"""The columns of summary.csv: a row per variant."""

SUMMARY_COLUMNS = """
    arch variant data data_digest tokenizer size objective protocol parameters seeds status reason
    bits_per_byte bits_per_byte_low bits_per_byte_high perplexity pseudo_perplexity
    train_tokens_per_second prefill_tokens_per_second decode_tokens_per_second
    peak_train_memory_bytes state_bytes train_seconds tokens_seen
    label part parameters_without_embedding parameters_in_products width budget_slack
    bits_per_byte_seed_deviation bits_per_byte_basis pseudo_perplexity_standard_error seeds_asked
    machine sitting precision lossy control parameters_active regret regret_standard_error
    nats_per_token oracle_nats_per_token accuracy oracle_accuracy learning_rate trials untuned
    left_to_right_bits_per_byte left_to_right_standard_error any_order_bits_per_byte
    any_order_standard_error filling_accuracy filling_nats chunk_bits_per_byte
    stride_bits_per_byte stateful_bits_per_byte left_to_right_regret
    left_to_right_regret_standard_error
    row_key family matched context rate_origin searched_steps rate_elsewhere
    validation_nats_before_end validation_nats_at_end training_memory_bytes
""".split()
CSV_NAMES = {"row_key": "row", "matched": "size_budget"}  # of columns with other names there
REGRET_COLUMNS = SUMMARY_COLUMNS[
    SUMMARY_COLUMNS.index("regret") : SUMMARY_COLUMNS.index("learning_rate")
]
SAMPLED_COLUMNS = SUMMARY_COLUMNS[
    SUMMARY_COLUMNS.index("left_to_right_bits_per_byte") : SUMMARY_COLUMNS.index("row_key")
]
COST_COLUMNS = """
    parameters parameters_active parameters_without_embedding parameters_in_products width
    budget_slack train_seconds tokens_seen state_bytes
""".split()
WHOLE_NUMBERS = """
    parameters seeds parameters_without_embedding parameters_in_products parameters_active width
    tokens_seen seeds_asked
""".split()
FACTS = """
    arch family subject label data tokenizer size lossy text_digest budget matched length context
    recipe learning_rate trials untuned rate_origin searched_steps rate_elsewhere
""".split()
