-- Every answer that some row of this database rests on.
create or replace view llm_answers as
from persona_answers
union all by name
from conversation_answers;
