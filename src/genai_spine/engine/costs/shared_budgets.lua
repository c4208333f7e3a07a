-- Budgets that several processes share, each decision in one step of the server. Amounts are nano-dollars and tokens,
-- whole numbers below 2^53, and travel as texts; moments are microseconds of the server's clock.
--
--   KEYS: of each budget its sums in one window, and beside them the calls that hold something of it
--   ARGV[1..4]  what to do, the call's id, how long what it holds is its own (µs), the process's id
--   take        of each: limits (usd, tokens; -1: none), amounts, what it used alone and a number that grows,
--               what it knows -> {1, usd spent, tokens spent, usd held, tokens held, …} or the same with a 0
--   grow        of each: amounts
--   settle      of each: what was held, what was used, levels (usd and tokens of the next two; -1: none), what it knows
--               -> {usd spent, tokens spent, usd held, tokens held, 1 if the first level was reached by it, 1 for the
--                  second, …}
--   finish      of each: what was used. As settle, for a take or a settle of which nobody knows whether it was heard:
--               nothing, where the call holds nothing; what is heard of the call later, comes too late
--   look        of each: as take, nothing is taken
--   epoch       KEYS: one key -> {what stands there}: the id of the first process that asked since the server was empty
--
-- What a process knows of a budget is (1 if the server told it, 0 if it read it elsewhere; what is spent; what its own
-- calls hold at the server; how much of what it used alone is among what is spent; when the sums are forgotten, ms, 0:
-- never). What it used alone is all since it began, so that it may be told twice, and late. What a process that died has
-- held counts as spent when its time is over.
--
-- Sums that were lost, as after a flush, are made of what processes know, each of which is asked once (`by:`): the most
-- that one of them was told (`base`: the last one that was told has heard of all) and, of every one, what its calls
-- hold, which counts as spent until they are over. What is spent meanwhile comes on top. A process that is new tells
-- what its ledger says of all together: the sums are no less than that.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local action, id, lease, process = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local function text(number)
  return number == 0 and '0' or string.format('%.0f', number) -- of -0 it would be "-0", which is no number to Redis
end

local function add(sums, field, number)
  if number ~= 0 then redis.call('HINCRBY', sums, field, text(number)) end
end

local function expire(sums, calls)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', calls, '-inf', now, 'LIMIT', 0, 100)) do
    local usd, tokens = string.match(redis.call('HGET', sums, 'call:' .. gone) or '0 0', '(%S+) (%S+)')
    usd, tokens = tonumber(usd), tonumber(tokens)
    add(sums, 'held_usd', -usd)
    add(sums, 'held_tokens', -tokens)
    add(sums, 'usd', usd)
    add(sums, 'tokens', tokens)
    redis.call('HDEL', sums, 'call:' .. gone)
    redis.call('ZREM', calls, gone)
  end
end

local function read(sums)
  local h = redis.call('HMGET', sums, 'usd', 'tokens', 'held_usd', 'held_tokens')
  return tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0), tonumber(h[4] or 0)
end

local function raise(sums, field, was_told, counted, known, own)
  local from = was_told and tonumber(redis.call('HGET', sums, 'base_' .. field) or 0) or counted
  local more = math.max(0, known - from)
  add(sums, 'base_' .. field, more)
  add(sums, field, more + own)
end

-- Once for each process, and again when the sums were lost.
local function restore(sums, was_told, usd, tokens, own_usd, own_tokens, among_usd, among_tokens)
  if redis.call('HSETNX', sums, 'by:' .. process, '0 ' .. among_usd .. ' ' .. among_tokens) == 1 then
    local spent_usd, spent_tokens, held_usd, held_tokens = read(sums)
    raise(sums, 'usd', was_told == '1', spent_usd + held_usd, tonumber(usd), tonumber(own_usd))
    raise(sums, 'tokens', was_told == '1', spent_tokens + held_tokens, tonumber(tokens), tonumber(own_tokens))
  end
end

local function tell(sums, usd, tokens, number)
  local before = redis.call('HGET', sums, 'by:' .. process)
  local last, before_usd, before_tokens = string.match(before, '(%S+) (%S+) (%S+)')
  if last and tonumber(number) > tonumber(last) and (usd ~= before_usd or tokens ~= before_tokens) then
    redis.call('HSET', sums, 'by:' .. process, number .. ' ' .. usd .. ' ' .. tokens)
    add(sums, 'usd', tonumber(usd) - tonumber(before_usd))
    add(sums, 'tokens', tonumber(tokens) - tonumber(before_tokens))
  end
end

local function is_finished(calls)
  return redis.call('ZSCORE', calls, 'finished:' .. id)
end

local function keep(sums, calls, forget)
  if forget > 0 then
    redis.call('PEXPIRE', sums, forget)
    redis.call('PEXPIRE', calls, forget)
  end
end

local function hold(sums, calls, usd, tokens)
  local before_usd, before_tokens = string.match(redis.call('HGET', sums, 'call:' .. id) or '0 0', '(%S+) (%S+)')
  redis.call('HSET', sums, 'call:' .. id, text(usd + before_usd) .. ' ' .. text(tokens + before_tokens))
  redis.call('ZADD', calls, now + lease, id)
  add(sums, 'held_usd', usd)
  add(sums, 'held_tokens', tokens)
end

local function append(answer, sums)
  for _, number in ipairs({read(sums)}) do answer[#answer + 1] = text(number) end
end

local function each(width, work)
  for i = 1, #KEYS / 2 do
    local arguments = {}
    for j = 1, width do arguments[j] = ARGV[4 + (i - 1) * width + j] end
    work(KEYS[2 * i - 1], KEYS[2 * i], unpack(arguments))
  end
end

local function take()
  local has_room = true
  each(15, function(sums, calls, limit_usd, limit_tokens, usd, tokens, alone_usd, alone_tokens, number, ...)
    expire(sums, calls)
    restore(sums, ...)
    tell(sums, alone_usd, alone_tokens, number)
    has_room = has_room and not is_finished(calls)
    local spent_usd, spent_tokens, held_usd, held_tokens = read(sums)
    limit_usd, limit_tokens = tonumber(limit_usd), tonumber(limit_tokens)
    if limit_usd >= 0 and tonumber(usd) > 0 and spent_usd + held_usd + tonumber(usd) > limit_usd then
      has_room = false
    end
    if limit_tokens >= 0 and tonumber(tokens) > 0 and spent_tokens + held_tokens + tonumber(tokens) > limit_tokens then
      has_room = false
    end
  end)
  local answer = {has_room and '1' or '0'}
  each(15, function(sums, calls, _, _, usd, tokens, _, _, _, _, _, _, _, _, _, _, forget)
    if has_room and action == 'take' then hold(sums, calls, tonumber(usd), tonumber(tokens)) end
    keep(sums, calls, tonumber(forget))
    append(answer, sums)
  end)
  return answer
end

-- Of a call whose time was over, and of one that was under way when the sums were lost, all that is held is spent.
local function grow()
  each(2, function(sums, calls, usd, tokens)
    if redis.call('HEXISTS', sums, 'call:' .. id) == 1 then
      hold(sums, calls, tonumber(usd), tonumber(tokens))
    elseif redis.call('HEXISTS', sums, 'by:' .. process) == 1 and not is_finished(calls) then
      add(sums, 'usd', tonumber(usd))
      add(sums, 'tokens', tonumber(tokens))
    end
  end)
  return {}
end

-- Once for each amount: of a limit that was changed, another one may be reached.
local function crosses(sums, level_usd, level_tokens, usd, tokens)
  local name = 'told:' .. level_usd .. ':' .. level_tokens
  level_usd, level_tokens = tonumber(level_usd), tonumber(level_tokens)
  local is_there = (level_usd > 0 and usd >= level_usd) or (level_tokens > 0 and tokens >= level_tokens)
  return is_there and redis.call('HSETNX', sums, name, 1) == 1
end

local function release(sums, calls, usd, tokens)
  local call = redis.call('HGET', sums, 'call:' .. id)
  if not call then return false end
  local held_usd, held_tokens = string.match(call, '(%S+) (%S+)')
  redis.call('HDEL', sums, 'call:' .. id)
  redis.call('ZREM', calls, id)
  add(sums, 'held_usd', -tonumber(held_usd))
  add(sums, 'held_tokens', -tonumber(held_tokens))
  add(sums, 'usd', usd)
  add(sums, 'tokens', tokens)
  return true
end

local function finish()
  each(2, function(sums, calls, usd, tokens)
    release(sums, calls, tonumber(usd), tonumber(tokens))
    redis.call('ZADD', calls, now + lease, 'finished:' .. id)
  end)
  return {}
end

local function settle()
  local answer = {}
  each(16, function(sums, calls, held_usd, held_tokens, usd, tokens, first_usd, first_tokens, last_usd, last_tokens, ...)
    held_usd, held_tokens, usd, tokens = tonumber(held_usd), tonumber(held_tokens), tonumber(usd), tonumber(tokens)
    restore(sums, ...)
    if not release(sums, calls, usd, tokens) and not is_finished(calls) then -- its time was over, or the sums were lost, and what it held counts as spent
      add(sums, 'usd', usd - held_usd)
      add(sums, 'tokens', tokens - held_tokens)
    end
    keep(sums, calls, tonumber((select(8, ...))))
    append(answer, sums)
    local spent_usd, spent_tokens = read(sums)
    local first = crosses(sums, first_usd, first_tokens, spent_usd, spent_tokens)
    local last = crosses(sums, last_usd, last_tokens, spent_usd, spent_tokens)
    answer[#answer + 1], answer[#answer + 2] = first and '1' or '0', last and '1' or '0'
  end)
  return answer
end

local function epoch()
  redis.call('SET', KEYS[1], id, 'NX')
  return {redis.call('GET', KEYS[1])}
end

return ({take = take, look = take, grow = grow, settle = settle, finish = finish, epoch = epoch})[action]()
