-- Budgets that several processes share, each decision in one step of the server. Amounts are nano-dollars and tokens,
-- whole numbers below 2^53, and travel as texts; moments are microseconds of the server's clock.
--
--   KEYS: of each budget its sums in one window, and beside them the calls that hold something of it
--   ARGV[1..4]  what to do, the call's id, how long what it holds is its own (µs), the process's id
--   take        of each: limits (usd, tokens; -1: none), amounts, what this process knows to be used, what it used alone,
--               when the sums are forgotten (ms; 0: never)
--               -> {1, usd spent, tokens spent, usd held, tokens held, …} or the same with a 0
--   grow        of each: amounts
--   settle      of each: what was held, what was used, levels (usd and tokens of the next two; -1: none)
--               -> {usd spent, tokens spent, usd held, tokens held, 1 if the first level was reached by it, 1 for the
--                  second, …}
--   look        of each: as take, nothing is taken
--
-- What a process that died has held counts as spent when its time is over. Sums that the server does not know, as after
-- it was flushed, begin at what the first process that asks knows of them, and each that asks later raises them to what
-- it knows: what one of them has seen to be used is not given out again once it has asked.

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

local function raise(sums, field, used, held, known)
  add(sums, field, math.max(0, known - used - held))
end

-- Once for each process, and again when the sums were lost.
local function restore(sums, known_usd, known_tokens, alone_usd, alone_tokens)
  if redis.call('HSETNX', sums, 'by:' .. process, 1) == 1 then
    local usd, tokens, held_usd, held_tokens = read(sums)
    raise(sums, 'usd', usd, held_usd, known_usd)
    raise(sums, 'tokens', tokens, held_tokens, known_tokens)
  else
    add(sums, 'usd', alone_usd)
    add(sums, 'tokens', alone_tokens)
  end
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
  each(9, function(sums, calls, limit_usd, limit_tokens, usd, tokens, known_usd, known_tokens, a_usd, a_tokens)
    expire(sums, calls)
    restore(sums, tonumber(known_usd), tonumber(known_tokens), tonumber(a_usd), tonumber(a_tokens))
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
  each(9, function(sums, calls, _, _, usd, tokens, _, _, _, _, forget)
    if has_room and action == 'take' then hold(sums, calls, tonumber(usd), tonumber(tokens)) end
    keep(sums, calls, tonumber(forget))
    append(answer, sums)
  end)
  return answer
end

local function grow()
  each(2, function(sums, calls, usd, tokens)
    if redis.call('HEXISTS', sums, 'call:' .. id) == 1 then hold(sums, calls, tonumber(usd), tonumber(tokens)) end
  end)
  return {}
end

local function crosses(sums, name, level_usd, level_tokens, usd, tokens)
  local is_there = (level_usd > 0 and usd >= level_usd) or (level_tokens > 0 and tokens >= level_tokens)
  return is_there and redis.call('HSETNX', sums, name, 1) == 1
end

local function settle()
  local answer = {}
  each(8, function(sums, calls, held_usd, held_tokens, usd, tokens, first_usd, first_tokens, last_usd, last_tokens)
    held_usd, held_tokens, usd, tokens = tonumber(held_usd), tonumber(held_tokens), tonumber(usd), tonumber(tokens)
    if redis.call('HDEL', sums, 'call:' .. id) == 1 then
      redis.call('ZREM', calls, id)
      add(sums, 'held_usd', -held_usd)
      add(sums, 'held_tokens', -held_tokens)
      add(sums, 'usd', usd)
      add(sums, 'tokens', tokens)
    elseif redis.call('EXISTS', sums) == 1 then -- its time was over, and what it held counts as spent
      add(sums, 'usd', usd - held_usd)
      add(sums, 'tokens', tokens - held_tokens)
    end
    append(answer, sums)
    local spent_usd, spent_tokens = read(sums)
    local first = crosses(sums, 'told:1', tonumber(first_usd), tonumber(first_tokens), spent_usd, spent_tokens)
    local last = crosses(sums, 'told:2', tonumber(last_usd), tonumber(last_tokens), spent_usd, spent_tokens)
    answer[#answer + 1], answer[#answer + 2] = first and '1' or '0', last and '1' or '0'
  end)
  return answer
end

return ({take = take, look = take, grow = grow, settle = settle})[action]()
