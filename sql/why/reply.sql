-- A model's reply and how it came.
select answer_key, stage, origin, model, endpoint, finish_reason, prompt_tokens, completion_tokens, latency_s, attempts, answered_at, text
from llm_answers
where answer_key = $id;
