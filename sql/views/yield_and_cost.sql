-- Per language and stage: answers, tokens as the endpoint counted them, and latency in seconds.
create or replace view yield_and_cost as
select
    lang,
    stage,
    model,
    count(*) as answers,
    sum(prompt_tokens) as prompt_tokens,
    sum(cached_tokens) as cached_tokens,
    sum(completion_tokens) as completion_tokens,
    sum(attempts) as attempts,
    quantile_cont(latency_s, 0.5) as latency_p50_s,
    quantile_cont(latency_s, 0.95) as latency_p95_s
from llm_answers
group by lang, stage, model
order by lang, stage, model;
